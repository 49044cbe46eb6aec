"""Detectors as modules from images to boxes, with exact post-processing and outputs of fixed shape.

They consist of the parts of an MMDetection model and of what its ``predict`` does after them, on
whole batches: top-k over pairs of anchor and class, NMS for each class, RPN's NMS for each level,
every class of a box, clipping at the border of the unpadded image. The host only divides the boxes
by the images' scale factors and pastes the masks.
"""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmdet.models import detectors
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn

from ...runtime import Detector
from ..graphs.steps import (
    BOX_DELTAS,
    BOX_LOGITS,
    DELTAS,
    LOGITS,
    PROPOSALS,
    SCORES,
    VALID,
    levels,
)
from ..graphs.tensorrt_limits import MAX_TOP_K
from ..settings import GREEDY, GRID, MATRIX, ROI_ALIGN
from .ops import (
    NOTHING,
    RoiPooling,
    best_anchors,
    best_pairs,
    decode_boxes,
    grid_anchors,
    keep_by_matrix_nms,
    keep_by_nms,
    pool_by_grid,
    pooled_rois,
    rois_pooled_by_level,
    separate,
    take,
)

KEEP = {GREEDY: keep_by_nms, MATRIX: keep_by_matrix_nms}
BY_LEVEL = 'by_level'
POOLED: dict[str, Callable[..., Tensor]] = {
    ROI_ALIGN: pooled_rois,
    GRID: functools.partial(pooled_rois, pool=pool_by_grid),
    BY_LEVEL: rois_pooled_by_level,
}


class ExportedDetector(nn.Module):
    """What the exported detectors share.

    Args:
        model: A detector of MMDetection; its parts are copied.
        nms: ``'greedy'``, or ``'matrix'`` for a graph without NonMaxSuppression, NonZero and
            shapes that depend on values.

    Attributes:
        output_names: Names of what ``forward`` returns, of all that :meth:`steps` computes.
        step_names: Names of what lies in front of the score threshold.
    """

    output_names: tuple[str, ...] = Detector.output_names
    step_names: tuple[str, ...]

    def __init__(self, model: nn.Module, nms: str = GREEDY) -> None:
        super().__init__()
        self.nms = nms  # by name: an op cannot be copied
        self.backbone = copy.deepcopy(model.backbone)
        self.neck = copy.deepcopy(model.neck) if model.with_neck else nn.Identity()

    def forward(self, input: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Predicts: ``num_dets``, ``dets`` and ``labels`` as :meth:`results` returns them.

        Args:
            input: Normalised images, padded at the right and at the bottom, ``(B, 3, H, W)``.
            sizes: Height and width of each image without padding, ``(B, 2)``, float32.
        """
        values = self.steps(input, sizes)
        return tuple(values[name] for name in self.output_names)

    def steps(self, input: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """The outputs and the tensors of :mod:`..graphs.steps` by name; see :meth:`forward`."""
        raise NotImplementedError

    def results(
        self,
        scores: Tensor,
        boxes: Tensor,
        *,
        labels: Tensor,
        score_thr: float,
        iou_thr: float,
        count: int,
    ) -> dict[str, Tensor]:
        """Returns the best boxes that NMS of each class keeps, and the scores.

        Args:
            scores: ``(B, N)``.
            boxes: ``(B, N, 4)``.
            labels: ``(B, N)``, int64.
            score_thr: Least score, exclusively.
            iou_thr: Threshold of NMS.
            count: K.

        Returns:
            ``num_dets``: ``(B, 1)``, int32; ``dets``: boxes with scores ``(B, K, 5)``, best first,
            then rows of 0; ``labels``: ``(B, K)``, int32, then -1; and the scores as given.
        """
        given = scores
        scores = torch.where(scores > score_thr, scores, NOTHING)
        keep = KEEP[self.nms](separate(boxes, labels), scores, iou_thr)
        scores, index = torch.where(keep > 0, scores, NOTHING).topk(count)
        found = scores > 0
        dets = torch.cat([take(boxes, index), scores.unsqueeze(-1)], dim=-1)
        dets = torch.where(found.unsqueeze(-1), dets, 0.0)
        labels = torch.where(found, labels.gather(1, index), -1).to(torch.int32)
        number = found.sum(dim=1, keepdim=True).to(torch.int32)
        return {'num_dets': number, 'dets': dets, 'labels': labels, SCORES: given}


class ExportedOneStageDetector(ExportedDetector):
    """RetinaNet: ``(B, 3, H, W), (B, 2) -> num_dets, dets, labels``.

    Args:
        model: MMDetection's RetinaNet.
        nms: See :class:`ExportedDetector`.
    """

    def __init__(self, model: detectors.SingleStageDetector, nms: str = GREEDY) -> None:
        super().__init__(model, nms)
        self.head = copy.deepcopy(model.bbox_head)
        self.test_cfg = model.test_cfg
        self.step_names = (*dense_names(self.head), SCORES)

    def steps(self, input: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See :meth:`ExportedDetector.steps`."""
        logits, deltas = self.head(self.neck(self.backbone(input)))
        cfg = self.test_cfg
        count = min(cfg.nms_pre, MAX_TOP_K)
        parts = []
        for index in range(len(logits)):
            scores, level_deltas, anchors = best_level_anchors(
                self.head, index, logits=logits, deltas=deltas, count=count
            )
            boxes = decode_boxes(anchors, level_deltas, **normalisation(self.head), sizes=sizes)
            parts.append(best_pairs(scores, boxes, count))
        scores, boxes, labels = (torch.cat(part, dim=1) for part in zip(*parts))
        scores = usable(scores, boxes, cfg.get('min_bbox_size', -1))
        results = self.results(
            scores,
            boxes,
            labels=labels,
            score_thr=cfg.score_thr,
            iou_thr=cfg.nms.iou_threshold,
            count=cfg.max_per_img,
        )
        return results | dict(zip(dense_names(self.head), (*logits, *deltas)))


class ExportedTwoStageDetector(ExportedDetector):
    """Faster R-CNN and Mask R-CNN: ``(B, 3, H, W), (B, 2) -> num_dets, dets, labels[, masks]``.

    Args:
        model: MMDetection's Faster R-CNN or Mask R-CNN.
        nms: See :class:`ExportedDetector`.
        pooling: ``'roi_align'``; ``'by_level'`` for the same in shapes that depend on values; or
            ``'grid'`` for a graph without RoiAlign, see :func:`.ops.pool_by_grid` for where it
            differs.
    """

    def __init__(
        self, model: detectors.TwoStageDetector, nms: str = GREEDY, pooling: str = ROI_ALIGN
    ) -> None:
        super().__init__(model, nms)
        self.rpn_head = copy.deepcopy(model.rpn_head)
        self.bbox_head = copy.deepcopy(model.roi_head.bbox_head)
        self.pooling = pooling
        self.bbox_pooling = pooling_settings(model.roi_head.bbox_roi_extractor)
        self.test_cfg = model.test_cfg
        self.step_names = (
            *dense_names(self.rpn_head),
            PROPOSALS,
            VALID,
            BOX_LOGITS,
            BOX_DELTAS,
            SCORES,
        )
        self.mask_head = None
        if model.roi_head.with_mask:
            self.mask_head = copy.deepcopy(model.roi_head.mask_head)
            self.mask_pooling = pooling_settings(model.roi_head.mask_roi_extractor)
            self.output_names = (*ExportedDetector.output_names, 'masks')

    def steps(self, input: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See :meth:`ExportedDetector.steps`, and ``masks`` where the model has them.

        Masks are probabilities, ``(B, K, 28, 28)``, float32.
        """
        maps = self.neck(self.backbone(input))
        dense = self.rpn_head(maps)
        proposals, valid = self.proposals(dense[0], dense[1], sizes)
        features = self.pooled(maps, proposals, self.bbox_pooling)
        logits, deltas = self.bbox_head(features)
        cfg = self.test_cfg
        count, classes = cfg.rpn.max_per_img, self.bbox_head.num_classes
        logits = logits.reshape(-1, count, classes + 1)
        scores = logits.softmax(dim=-1)[..., :-1]
        scores = torch.where(valid.unsqueeze(-1), scores, NOTHING)
        boxes_per_proposal = 1 if self.bbox_head.reg_class_agnostic else classes
        anchors = proposals.unsqueeze(2).expand(-1, -1, boxes_per_proposal, -1)
        deltas = deltas.reshape(-1, count * boxes_per_proposal, 4)
        boxes = decode_boxes(
            anchors.reshape(-1, count * boxes_per_proposal, 4),
            deltas,
            **normalisation(self.bbox_head),
            sizes=sizes,
        )
        count = min(MAX_TOP_K, count * classes)
        scores, boxes, labels = best_pairs(scores, boxes, count)
        results = self.results(
            scores,
            boxes,
            labels=labels,
            score_thr=cfg.rcnn.score_thr,
            iou_thr=cfg.rcnn.nms.iou_threshold,
            count=cfg.rcnn.max_per_img,
        )
        if self.mask_head is not None:
            results['masks'] = self.masks(maps, results['dets'], results['labels'])
        results |= dict(zip(dense_names(self.rpn_head), (*dense[0], *dense[1])))
        seen = {PROPOSALS: proposals, VALID: valid, BOX_LOGITS: logits, BOX_DELTAS: deltas}
        return results | seen

    def proposals(
        self, logits: Sequence[Tensor], deltas: Sequence[Tensor], sizes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes worth a look and which of them there are: ``(B, P, 4)`` and ``(B, P)``, bool."""
        cfg = self.test_cfg.rpn
        count = min(cfg.nms_pre, MAX_TOP_K)
        parts = []
        for index in range(len(logits)):
            scores, level_deltas, anchors = best_level_anchors(
                self.rpn_head, index, logits=logits, deltas=deltas, count=count
            )
            boxes = decode_boxes(anchors, level_deltas, **normalisation(self.rpn_head), sizes=sizes)
            parts.append((scores[..., 0], boxes, torch.full_like(boxes[..., 0], index)))
        scores, boxes, level = (torch.cat(part, dim=1) for part in zip(*parts))
        scores = usable(scores, boxes, cfg.get('min_bbox_size', -1))
        keep = KEEP[self.nms](separate(boxes, level), scores, cfg.nms.iou_threshold)
        scores, index = torch.where(keep > 0, scores, NOTHING).topk(cfg.max_per_img)
        valid = scores > 0
        boxes = torch.where(valid.unsqueeze(-1), take(boxes, index), boxes.new_tensor(ONE_PIXEL))
        return boxes, valid

    def pooled(self, maps: tuple[Tensor, ...], boxes: Tensor, settings: RoiPooling) -> Tensor:
        """Features of the boxes, ``(B * N, C, h, w)``, by :func:`pooling_settings`."""
        return POOLED[self.pooling](maps[: len(settings.strides)], boxes, settings)

    def masks(self, maps: tuple[Tensor, ...], dets: Tensor, labels: Tensor) -> Tensor:
        """Probability of each cell of a detection's box to belong to it: ``(B, K, 28, 28)``."""
        found = (labels >= 0).unsqueeze(-1)
        boxes = torch.where(found, dets[..., :4], dets.new_tensor(ONE_PIXEL))
        features = self.pooled(maps, boxes, self.mask_pooling)
        logits = self.mask_head(features)  # (B * K, C, 28, 28)
        if not self.mask_head.class_agnostic:
            index = labels.flatten().clamp(min=0).to(torch.int64).reshape(-1, 1, 1, 1)
            logits = logits.gather(1, index.expand(-1, -1, *logits.shape[2:]))
        masks = logits.sigmoid().reshape(-1, self.test_cfg.rcnn.max_per_img, *logits.shape[2:])
        return torch.where(found.unsqueeze(-1), masks, 0.0)


# Stands in for a box that is not there: RoIAlign of one without area is not a number.
ONE_PIXEL = (0.0, 0.0, 1.0, 1.0)


def dense_names(head: nn.Module) -> tuple[str, ...]:
    """Names of the logits and of the deltas that a head makes of the levels of a pyramid."""
    count = len(head.prior_generator.strides)
    return (*levels(LOGITS, count), *levels(DELTAS, count))


def best_level_anchors(
    head: nn.Module, level: int, *, logits: Sequence[Tensor], deltas: Sequence[Tensor], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores ``(B, K, C)``, deltas and anchors ``(B, K, 4)`` of the best anchors of a level."""
    generator = head.prior_generator
    base_anchors = generator.base_anchors[level].to(logits[level].device, torch.float32)
    anchors = grid_anchors(base_anchors, logits[level], generator.strides[level])
    anchors = anchors.expand(logits[level].shape[0], -1, -1)
    width = head.cls_out_channels
    rows = [
        x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, size).float()
        for x, size in ((logits[level], width), (deltas[level], 4))
    ]
    return best_anchors(rows[0], [rows[1], anchors], count)


def usable(scores: Tensor, boxes: Tensor, min_size: float) -> Tensor:
    """``scores`` without those of boxes that are too small, ``(B, N)``."""
    if min_size < 0:
        return scores
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.where((sides > min_size).all(dim=-1), scores, NOTHING)


def normalisation(head: nn.Module) -> dict[str, Any]:
    """Means and standard deviations of a head's deltas, as :func:`.ops.decode_boxes` takes them."""
    return dict(means=tuple(head.bbox_coder.means), stds=tuple(head.bbox_coder.stds))


def pooling_settings(extractor: SingleRoIExtractor) -> RoiPooling:
    """How MMDetection's extractor pools."""
    layer = extractor.roi_layers[0]
    return RoiPooling(
        strides=tuple(extractor.featmap_strides),
        finest_scale=extractor.finest_scale,
        output_size=tuple(layer.output_size),
        sampling_ratio=layer.sampling_ratio,
        aligned=layer.aligned,
    )
