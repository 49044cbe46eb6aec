"""Precision and recall of a class by the threshold of its score."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall if all answers from a score on are kept; the highest score first.

    Attributes:
        scores: The thresholds, ``(N,)``.
        precision: ``(N,)``.
        recall: ``(N,)``.
        f1: Harmonic mean of both, ``(N,)``.
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    @property
    def best(self) -> int | None:
        """Index of the threshold with the greatest F1; None if there is no right answer."""
        return int(self.f1.argmax()) if len(self.f1) and self.f1.max() > 0 else None

    @property
    def best_score(self) -> float:
        """The threshold with the greatest F1; infinite if there is no right answer."""
        return float('inf') if self.best is None else float(self.scores[self.best])


def precision_recall(scores: np.ndarray, right: np.ndarray, count: int) -> PrecisionRecall:
    """Returns precision and recall for each threshold.

    Args:
        scores: Score of each answer, ``(N,)``.
        right: Whether it is right, ``(N,)``, bool.
        count: How many right answers there could be.
    """
    order = np.argsort(-scores, kind='stable')
    scores, hits = scores[order], np.cumsum(right[order])
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # equal scores share a threshold
    hits, kept = hits[last], last + 1
    f1 = 2 * hits / (kept + count)
    return PrecisionRecall(scores[last], hits / kept, hits / max(count, 1), f1)
