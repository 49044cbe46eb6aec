"""Images of a report: which, and drawn."""

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from ..analysis.pages.rendering import inline_image
from ..errors import UserError
from ..images import read_image
from ..runtime.drawing import draw
from ..runtime.results import Detections
from .blocks import Colors, Picture, Pictures
from .evaluation import CLASSES, Evaluation, as_result
from .findings import Findings

MOST = 24  # images of each kind, so that a page stays under about 15 MB
SIDE = 512  # pixels of an image's longer side, at most
MOST_COLORS = 100  # classes whose colour is told
MOST_NAMED = 12  # objects of an image; the names of more would hide them
LEAST_SIDE = 256  # smaller ones are enlarged


def show_pictures(evaluation: Evaluation, findings: Findings, count: int) -> list[Pictures]:
    """Draws images of each ranking; an image that one shows is not shown by the next.

    Args:
        evaluation: The evaluation.
        findings: What was found.
        count: Images of each ranking.
    """
    shown: set[int] = set()
    blocks = []
    for ranking in findings.rankings:
        chosen = [index for index in ranking.order if index not in shown][:count]
        shown.update(chosen)
        pictures = [
            show_sample(f'{ranking.key}-{number}', [(evaluation, findings)], index)
            for number, index in enumerate(chosen, 1)
        ]
        if pictures:
            blocks.append(Pictures(ranking.key, ranking.title, pictures, ranking.text))
    return blocks


def show_colors(evaluation: Evaluation) -> list[Colors]:
    """Returns which class is drawn in which colour; of a classifier nothing."""
    legend = evaluation.legend
    if evaluation.task == CLASSES:
        return []
    colors = {}
    for label, name in enumerate(legend.names[:MOST_COLORS]):
        blue, green, red = legend.color(label)
        colors[name] = f'#{red:02x}{green:02x}{blue:02x}'
    return [Colors(colors)]


def show_sample(
    key: str, seen: Sequence[tuple[Evaluation, Findings]], index: int, names: Sequence[str] = ()
) -> Picture:
    """Draws an image: its truth, and beside it what each of some evaluations found in it.

    Args:
        key: Anchor of the picture.
        seen: Evaluations of the same images, and their findings.
        index: Of the sample.
        names: Of the evaluations, if there are several.
    """
    evaluation = seen[0][0]
    name = evaluation.samples[index].name
    captions = [
        f'{run}: {line}' if run else line
        for run, (_, findings) in zip(names or [''], seen)
        for line in findings.captions(index)
    ]
    found = [findings.shown(each.samples[index].found) for each, findings in seen]
    alts = [f'truth of {name}', *(f'prediction of {name} {run}'.strip() for run in names or [''])]
    sources = list(_sources(evaluation, index, found))
    return Picture(key, sources, alts, [name, *captions])


def _sources(evaluation: Evaluation, index: int, found: Sequence[Any]) -> Iterator[str]:
    """Yields truth and predictions as addresses; nothing where the image cannot be read."""
    sample = evaluation.samples[index]
    try:
        image = read_image(sample.path)
    except UserError:  # it was moved
        return
    if evaluation.task == CLASSES:
        yield inline_image(_enlarged(image), SIDE)
        return
    if image.shape[:2] != tuple(sample.size):  # not the image that was evaluated
        return
    for value, truth in [(sample.truth, True), *((each, False) for each in found)]:
        result = as_result(value, evaluation.task, sample.size)
        names = not isinstance(result, Detections) or len(result) <= MOST_NAMED
        drawn = draw(image, result, evaluation.legend, with_names=names, with_scores=not truth)
        yield inline_image(_enlarged(drawn), SIDE)


def _enlarged(image: np.ndarray) -> np.ndarray:
    times = -(-LEAST_SIDE // max(image.shape[:2]))
    if times <= 1:
        return image
    return cv2.resize(image, None, fx=times, fy=times, interpolation=cv2.INTER_NEAREST)
