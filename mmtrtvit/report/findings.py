"""What a report tells of an evaluation, whatever its task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .blocks import Section
from .curves import PrecisionRecall


@dataclass
class Ranking:
    """An order in which images are worth looking at.

    Attributes:
        key: Its anchor.
        title: Its heading.
        text: How it was made.
        order: Indices of samples, the first ones are shown.
    """

    key: str
    title: str
    text: str
    order: Sequence[int]


@dataclass
class Findings:
    """What was found.

    Attributes:
        sections: Tables and figures.
        rankings: Images to look at.
        captions: Lines below an image, by its index.
        quality: How good each image is, from 0 to 1; NaN where that is not defined, ``(N,)``.
        measure: What tells how good a class is.
        of_classes: That of each class, by name.
        shown: What of a prediction is drawn.
    """

    sections: list[Section]
    rankings: list[Ranking]
    captions: Callable[[int], list[str]]
    quality: np.ndarray
    measure: str
    of_classes: dict[str, float]
    shown: Callable[[Any], Any] = lambda found: found


def ranked(values: np.ndarray, which: np.ndarray | None = None) -> list[int]:
    """Returns indices by their values, the greatest first.

    Args:
        values: ``(N,)``; NaN comes last.
        which: Those to rank, ``(N,)``, bool; default: all.
    """
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind='stable')
    return [int(index) for index in order if which is None or which[index]]


def shuffled(count: int) -> list[int]:
    """Returns all indices in an order that is the same each time."""
    return np.random.default_rng(0).permutation(count).tolist()


def best_cells(curve: PrecisionRecall) -> list[str]:
    """Returns the best threshold and precision, recall and F1 there, as cells of a table."""
    best = curve.best
    if best is None:
        return ['-'] * 4
    return [
        f'{curve.best_score:.2f}',
        *(f'{values[best]:.3f}' for values in (curve.precision, curve.recall, curve.f1)),
    ]


BEST_HEAD = ['threshold', 'precision', 'recall', 'F1']
BEST_TEXT = (
    'The best threshold of a class is the score from which on to keep what is found for the '
    'greatest F1; precision and recall are those at it. The curves are of this evaluation, so a '
    'threshold for other images is better chosen with some distance.'
)


def number(value: float) -> str:
    """Returns a metric as a cell; a dash for what is not defined."""
    return '-' if np.isnan(value) else f'{value:.3f}'
