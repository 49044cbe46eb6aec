"""What a segmentor takes pixels for."""

from dataclasses import dataclass

import numpy as np

from .confusion import count_pairs
from .evaluation import Evaluation, Sample, from_png


@dataclass
class PixelAnalysis:
    """What was found out.

    Attributes:
        confusion: ``(C, C)``, pixels: row of the truth, column of what was found.
        ious: Mean IoU of the classes in each image, ``(N,)``; NaN where nothing counts.
        accuracies: Share of the pixels of each image that are right, ``(N,)``.
        worst: Truth and prediction of the most frequent mistake; None if there is none.
        mistaken: Share of the pixels of each image with that mistake, ``(N,)``.
    """

    confusion: np.ndarray
    ious: np.ndarray
    accuracies: np.ndarray
    worst: tuple[int, int] | None
    mistaken: np.ndarray


def iou_of(confusion: np.ndarray) -> np.ndarray:
    """Returns the IoU of each class, ``(C,)``; NaN for one that is neither there nor found."""
    right = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def analyse_pixels(evaluation: Evaluation) -> PixelAnalysis:
    """Compares label maps with the truth.

    Args:
        evaluation: Of a segmentor.
    """
    count = len(evaluation.legend.names)
    total = np.zeros((count, count), int)
    ious, accuracies = [], []
    for sample in evaluation.samples:
        confusion = count_pairs(*_labels(evaluation, sample), count)
        total += confusion
        there = iou_of(confusion)
        ious.append(np.nan if np.isnan(there).all() else np.nanmean(there))
        accuracies.append(confusion.trace() / max(confusion.sum(), 1))
    wrong = total - np.diag(total.diagonal())
    worst = divmod(int(wrong.argmax()), count) if wrong.any() else None
    mistaken = [_share(*_labels(evaluation, sample), worst) for sample in evaluation.samples]
    return PixelAnalysis(total, np.array(ious), np.array(accuracies), worst, np.array(mistaken))


def _labels(evaluation: Evaluation, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Returns truth and prediction of the pixels that count."""
    truth, found = from_png(sample.truth), from_png(sample.found)
    used = truth != evaluation.ignored_label
    return truth[used], found[used]


def _share(truth: np.ndarray, found: np.ndarray, pair: tuple[int, int] | None) -> float:
    if pair is None or not len(truth):
        return 0.0
    return float(((truth == pair[0]) & (found == pair[1])).mean())
