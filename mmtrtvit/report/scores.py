"""What a classifier takes images for."""

from dataclasses import dataclass

import numpy as np

from .confusion import count_pairs
from .curves import PrecisionRecall, precision_recall
from .evaluation import Evaluation


@dataclass
class ScoreAnalysis:
    """What was found out.

    Attributes:
        truth: Class index of each image, ``(N,)``.
        scores: ``(N, C)``.
        found: The most likely class of each image, ``(N,)``.
        confusion: ``(C, C)``: row of the truth, column of what was found.
        curves: Precision and recall of each class.
    """

    truth: np.ndarray
    scores: np.ndarray
    found: np.ndarray
    confusion: np.ndarray
    curves: list[PrecisionRecall]

    @property
    def top1(self) -> float:
        """Share of the images whose most likely class is the right one, in percent."""
        return 100 * float((self.truth == self.found).mean())


def analyse_scores(evaluation: Evaluation) -> ScoreAnalysis:
    """Compares the most likely classes with the truth.

    Args:
        evaluation: Of a classifier.
    """
    truth = np.array([sample.truth for sample in evaluation.samples], int)
    scores = np.array([sample.found for sample in evaluation.samples], np.float32)
    found = scores.argmax(1)
    count = scores.shape[1]
    curves = [
        precision_recall(scores[:, label], truth == label, int((truth == label).sum()))
        for label in range(count)
    ]
    return ScoreAnalysis(truth, scores, found, count_pairs(truth, found, count), curves)
