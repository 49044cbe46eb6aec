"""Comparison of the predictions of two models on the same images."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

# Differences that rounding explains, in single precision; the exports of
# tests/deploy/test_workflow.py stay within them.
BOX_TOLERANCE = 1e-2  # pixels
SCORE_TOLERANCE = 1e-4
MASK_TOLERANCE = 1e-3  # 1 - IoU
LABEL_TOLERANCE = 1e-4  # share of the pixels: so near a border that rounding decides
MATCH_DISTANCE = 2.0  # pixels, between the coordinates of two boxes that are one detection


@dataclass
class Difference:
    """How far one kind of output is apart.

    Attributes:
        output: Which kind.
        largest: Largest difference.
        mean: Mean difference.
        count: Compared numbers of detections or pixels.
        unmatched: Detections of either side without a partner, or pixels of another class.
        tolerance: Largest difference that is taken for rounding.
        spare: How many without a partner rounding explains.
    """

    output: str
    largest: float
    mean: float
    count: int
    unmatched: int
    tolerance: float
    spare: float = 0

    @property
    def within(self) -> bool:
        """Whether nothing is further apart than rounding explains."""
        return self.largest <= self.tolerance and self.unmatched <= self.spare


def agree(differences: Iterable[Difference]) -> bool:
    """Whether something was compared, and nothing is further apart than rounding explains."""
    rows = list(differences)
    return any(row.count for row in rows) and all(row.within for row in rows)


@dataclass
class Part:
    """What one image says of a :class:`Difference`.

    Attributes:
        output: Which kind of output.
        errors: Differences, of any shape.
        tolerance: See :class:`Difference`, as for the next two.
        unmatched: Those without a partner.
        spare: How many of them rounding explains.
    """

    output: str
    errors: Tensor
    tolerance: float
    unmatched: int = 0
    spare: float = 0


def merged(parts: Iterable[Part]) -> list[Difference]:
    """A difference for each kind of output, over all images."""
    kinds: dict[str, list[Part]] = {}
    for part in parts:
        kinds.setdefault(part.output, []).append(part)
    rows = []
    for output, same in kinds.items():
        values = torch.cat([part.errors.flatten() for part in same]).double()
        rows.append(
            Difference(
                output,
                values.max().item() if len(values) else 0.0,
                values.mean().item() if len(values) else 0.0,
                len(values),
                sum(part.unmatched for part in same),
                same[0].tolerance,
                sum(part.spare for part in same),
            )
        )
    return rows


def compare(ours: Iterable[BaseDataElement], theirs: Iterable[BaseDataElement]) -> list[Difference]:
    """Compares predictions image by image.

    Detections are matched one to one: each with the nearest of the other side of the same class.
    """
    pairs = list(zip(ours, theirs, strict=True))
    if 'pred_sem_seg' in pairs[0][0]:
        return [_label_maps(pairs)]
    if 'pred_score' in pairs[0][0]:
        return merged(
            Part('probabilities', (a.pred_score - b.pred_score).abs(), SCORE_TOLERANCE)
            for a, b in pairs
        )
    return _detections([(a.pred_instances, b.pred_instances) for a, b in pairs])


def _label_maps(pairs: list[tuple[BaseDataElement, BaseDataElement]]) -> Difference:
    wrong = pixels = 0
    for a, b in pairs:
        wrong += int((a.pred_sem_seg.data != b.pred_sem_seg.data).sum())
        pixels += a.pred_sem_seg.data.numel()
    share = wrong / pixels
    return Difference('share of other labels', share, share, pixels, 0, LABEL_TOLERANCE)


def _detections(pairs: list[tuple[InstanceData, InstanceData]]) -> list[Difference]:
    parts = []
    for a, b in pairs:
        first, second = match(a, b)
        unmatched = len(a) + len(b) - 2 * len(first)
        boxes = (a.bboxes[first] - b.bboxes[second]).abs()
        scores = (a.scores[first] - b.scores[second]).abs()
        parts.append(Part('boxes (pixels)', boxes, BOX_TOLERANCE, unmatched))
        parts.append(Part('scores', scores, SCORE_TOLERANCE, unmatched))
        if 'masks' in a:
            errors = 1 - mask_iou(a.masks[first], b.masks[second])
            parts.append(Part('masks (1 - IoU)', errors, MASK_TOLERANCE, unmatched))
    return merged(parts)


def match(a: InstanceData, b: InstanceData, reach: float = MATCH_DISTANCE) -> tuple[Tensor, Tensor]:
    """Pairs detections of the same class, the nearest first.

    Args:
        a: N detections.
        b: M detections.
        reach: Largest difference of a coordinate, in pixels, within a pair.

    Returns:
        Indices into ``a`` and into ``b``, ``(P,)`` each.
    """
    distance = (a.bboxes[:, None] - b.bboxes).abs().amax(dim=2)  # (N, M)
    distance += (a.scores[:, None] - b.scores).abs()
    distance[a.labels[:, None] != b.labels] = torch.inf
    pairs, used_rows, used_columns = [], set(), set()
    for index in distance.flatten().argsort().tolist():
        row, column = divmod(index, len(b))
        if distance[row, column] > reach:
            break
        if row not in used_rows and column not in used_columns:
            pairs.append((row, column))
            used_rows.add(row)
            used_columns.add(column)
    rows, columns = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)
    return rows, columns


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each pair of masks, ``(N, H, W), (N, H, W) -> (N,)``; 1 where both are empty."""
    union = (a | b).sum(dim=(1, 2))
    return torch.where(union > 0, (a & b).sum(dim=(1, 2)) / union.clamp(min=1), 1.0)
