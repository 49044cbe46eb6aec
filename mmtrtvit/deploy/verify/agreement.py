"""Agreement: whether a file of lower precision still finds what the model finds.

Rounding to half precision or to 8 bits moves every number, so no tolerance for single numbers says
whether the file is good. This counts objects and classes instead: those that one side is sure of,
and that the other side finds as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor
from torchvision.ops import box_iou

from .compare import mask_iou

CLEAR_SCORE = 0.5  # of the best score of an image
CLEAR_AREA = 0.01  # of all pixels
OVERLAP = 0.5  # IoU of two detections of one object


@dataclass(frozen=True)
class Agreement:
    """How far two models agree.

    Attributes:
        of: What is counted.
        share: 1 if all of it is alike, 0 if nothing is.
        count: How many detections or classes were compared.
        least: Share below which the file is taken for wrong.
    """

    of: str
    share: float
    count: int
    least: float

    @property
    def enough(self) -> bool:
        """Whether something was compared, and enough of it is alike."""
        return bool(self.count) and self.share >= self.least


def agreement(
    ours: Iterable[BaseDataElement], theirs: Iterable[BaseDataElement], least: float
) -> Agreement:
    """Compares predictions of two models on the same images.

    Of detectors, detections count that have at least half the score of the best one of their image,
    of either side. They are alike if the other side has a box of the same class, whatever its
    score, with an IoU of at least 0.5, also of the masks where there are some. Of segmentors, it is
    the mean IoU of the classes that have at least a hundredth of all pixels on either side. Of
    classifiers, it is the probability that both sides give to the same classes.

    Args:
        ours: Predictions, one for each image.
        theirs: Those of the other model.
        least: See :class:`Agreement`.
    """
    pairs = list(zip(ours, theirs, strict=True))
    if 'pred_sem_seg' in pairs[0][0]:
        labels = (
            torch.cat([each[side].pred_sem_seg.data.flatten() for each in pairs]) for side in (0, 1)
        )
        values = _class_ious(*labels)
        return Agreement('mean IoU of classes', values.mean().item(), len(values), least)
    if 'pred_score' in pairs[0][0]:
        shared = torch.stack([torch.minimum(a.pred_score, b.pred_score).sum() for a, b in pairs])
        return Agreement('shared probability', shared.mean().item(), len(pairs), least)
    found = [torch.empty(0, dtype=torch.bool)]
    for a, b in ((a.pred_instances, b.pred_instances) for a, b in pairs):
        found += [_clear_in(a, b), _clear_in(b, a)]
    alike = torch.cat(found)
    share = alike.double().mean().item() if len(alike) else 0.0
    return Agreement('clear detections that both sides have', share, len(alike), least)


def _clear_in(a: InstanceData, b: InstanceData) -> Tensor:
    """Which of the clear detections of ``a`` are in ``b``, ``(N,)``, bool."""
    best = max([0.0, *a.scores.tolist(), *b.scores.tolist()])
    clear = a[a.scores >= CLEAR_SCORE * best]
    if not len(clear) or not len(b):
        return torch.zeros(len(clear), dtype=torch.bool)
    overlaps = box_iou(clear.bboxes, b.bboxes)  # (N, M)
    overlaps[clear.labels[:, None] != b.labels] = 0
    values, partners = overlaps.max(dim=1)
    alike = values >= OVERLAP
    if 'masks' in clear:
        alike &= mask_iou(clear.masks, b.masks[partners]) >= OVERLAP
    return alike.cpu()


def _class_ious(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each class that has enough pixels, of two label maps ``(P,)``."""
    counts = int(max(a.max(), b.max())) + 1
    both, in_a, in_b = (torch.bincount(x, minlength=counts) for x in (a[a == b], a, b))
    clear = torch.maximum(in_a, in_b) >= CLEAR_AREA * len(a)
    return (both / (in_a + in_b - both))[clear]
