"""Operations that detectors and segmentors need beyond plain layers, as ONNX can express them.

Every function here works on batches and gives the same numbers in PyTorch and in ONNX; but for
:func:`rois_pooled_by_level`, none has shapes that depend on values. Nothing branches on a size, so
a graph holds for every height and width.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample
from torchvision.ops import nms, roi_align

# Scores at or below zero mean: no candidate.
NOTHING = -1.0
# Rounds of matrix NMS: more than the longest chain of boxes that suppress one another; the chains
# of tests/deploy/export/test_alternatives.py say what fewer would do.
ROUNDS = 20
# Samples per cell and axis of pooling by a grid, where RoIAlign would count the map's places.
SAMPLES = 2
# Logit of an anchor that is not there: its score is 0.
NO_LOGIT = -1e4
# What MMDetection adds to the scale of a box before it chooses the box's level.
SCALE_OFFSET = 1e-6


@torch.library.custom_op('mmtrtvit::keep_by_nms', mutates_args=())
def keep_by_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression of each image; NonMaxSuppression in ONNX.

    Args:
        boxes: ``(B, N, 4)`` as ``x1, y1, x2, y2``, float32.
        scores: ``(B, N)``; what has no score above 0 neither survives nor suppresses.
        iou_threshold: A box goes if its IoU with a better one that stays is greater.

    Returns:
        1 for a box that stays and 0 for any other, ``(B, N)``, float32.
    """
    keep = torch.zeros_like(scores)
    for image, (image_boxes, image_scores) in enumerate(zip(boxes, scores)):
        candidates = (image_scores > 0).nonzero()[:, 0]
        chosen = nms(image_boxes[candidates], image_scores[candidates], iou_threshold)
        keep[image, candidates[chosen]] = 1
    return keep


@keep_by_nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return torch.empty_like(scores)


def keep_by_matrix_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """:func:`keep_by_nms` out of comparisons and matrix products, for runtimes without the op.

    In each of :data:`ROUNDS` rounds a box stays if no better box that stayed in the round before
    overlaps it. After k rounds all is settled but for boxes at the end of a chain of more than k,
    each of which overlaps the next. Memory grows with the square of N.
    """
    corners, others = boxes.split(2, dim=-1)
    sides = (
        torch.minimum(others.unsqueeze(2), others.unsqueeze(1))
        - torch.maximum(corners.unsqueeze(2), corners.unsqueeze(1))
    ).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]  # (B, N, N)
    area = (others - corners).prod(dim=-1)
    overlap = shared / (area.unsqueeze(2) + area.unsqueeze(1) - shared) > iou_threshold
    better, worse = scores.unsqueeze(2), scores.unsqueeze(1)
    index = torch.arange(scores.shape[1], device=scores.device)
    wins = (better > worse) | ((better == worse) & (index.unsqueeze(1) < index))
    suppresses = (overlap & wins).to(scores.dtype)
    candidates = (scores > 0).to(scores.dtype).unsqueeze(1)  # (B, 1, N)
    keep = candidates
    for _ in range(ROUNDS):
        keep = torch.where(keep @ suppresses > 0.5, 0.0, candidates)
    return keep.squeeze(1)


def separate(boxes: Tensor, groups: Tensor) -> Tensor:
    """Moves boxes of different groups apart, so that one NMS treats each group on its own.

    Args:
        boxes: ``(B, N, 4)``.
        groups: Number of each box's group, e.g. class or pyramid level, ``(B, N)`` or ``(N,)``.

    Returns:
        ``(B, N, 4)``; as in mmcv, a group is the largest coordinate of the image plus 1 further.
    """
    stride = boxes.amax(dim=(1, 2), keepdim=True) + 1
    return boxes + groups.to(boxes.dtype).unsqueeze(-1) * stride


def best_anchors(logits: Tensor, values: Sequence[Tensor], count: int) -> tuple[Tensor, ...]:
    """The ``count`` anchors of each image with the highest score of any class.

    The best ``count`` pairs of anchor and class are among them, whatever their classes. They keep
    their order, so that of equal scores the first counts, as in MMDetection: near 1, different
    logits have equal scores.

    Args:
        logits: ``(B, N, C)``.
        values: What else to select, ``(B, N, D)`` each.
        count: K. Where there are fewer than K anchors, the rest has the score 0.

    Returns:
        Scores ``(B, K, C)`` and each of the values ``(B, K, D)``.
    """
    tensors = [padded(logits, count, NO_LOGIT), *(padded(value, count) for value in values)]
    index = tensors[0].amax(dim=2).sigmoid().topk(count).indices
    index = index.to(torch.float32).topk(count, largest=False).values.to(torch.int64)
    logits, *values = (take(tensor, index) for tensor in tensors)
    return logits.sigmoid(), *values


def best_pairs(scores: Tensor, boxes: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` best pairs of box and class of each image, best first.

    Args:
        scores: ``(B, N, C)``.
        boxes: ``(B, N, 4)``, or ``(B, N * C, 4)`` with a box for each class.
        count: K, at most ``N * C``.

    Returns:
        Scores ``(B, K)``, boxes ``(B, K, 4)`` and classes ``(B, K)``, int64.
    """
    classes = scores.shape[2]
    per_class = boxes.shape[1] != scores.shape[1]
    scores, index = scores.flatten(1).topk(count)
    return scores, take(boxes, index if per_class else index // classes), index % classes


def padded(x: Tensor, count: int, value: float = 0.0) -> Tensor:
    """Appends ``count`` rows of a value: ``(B, N, D) -> (B, N + count, D)``."""
    return torch.cat([x, x.new_full((1, count, x.shape[2]), value).expand(x.shape[0], -1, -1)], 1)


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows of each image: ``(B, N, D), (B, K) -> (B, K, D)``."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[2]))


def grid_anchors(base_anchors: Tensor, x: Tensor, stride: Sequence[int]) -> Tensor:
    """Anchors at every place of a map, in MMDetection's order.

    Args:
        base_anchors: Anchors at the first place, ``(A, 4)``.
        x: The map, ``(B, C, H, W)``.
        stride: Pixels from one place to the next, horizontally and vertically.

    Returns:
        ``(H * W * A, 4)``, row by row.
    """
    columns = torch.arange(x.shape[3], device=x.device).to(base_anchors.dtype) * stride[0]
    rows = torch.arange(x.shape[2], device=x.device).to(base_anchors.dtype) * stride[1]
    shape = x.shape[2], x.shape[3]
    columns, rows = columns.expand(shape), rows.unsqueeze(1).expand(shape)
    shifts = torch.stack([columns, rows, columns, rows], dim=-1)  # (H, W, 4)
    return (shifts.unsqueeze(2) + base_anchors).flatten(0, 2)


def decode_boxes(
    anchors: Tensor,
    deltas: Tensor,
    *,
    means: Sequence[float],
    stds: Sequence[float],
    sizes: Tensor,
    max_ratio: float = 16 / 1000,
) -> Tensor:
    """Boxes from anchors and what a head predicts of them, cut off at the border of the image.

    Args:
        anchors: ``(B, N, 4)`` as ``x1, y1, x2, y2``.
        deltas: ``(B, N, 4)`` as shifts of the centre and logarithms of the growth, normalised.
        means: Means of the four deltas.
        stds: Their standard deviations.
        sizes: Height and width of each image, ``(B, 2)``.
        max_ratio: A side grows or shrinks by no more than this.

    Returns:
        ``(B, N, 4)`` as ``x1, y1, x2, y2``.
    """
    deltas = deltas * deltas.new_tensor(stds) + deltas.new_tensor(means)
    limit = abs(torch.log(torch.tensor(max_ratio)).item())
    corner, other = anchors.split(2, dim=-1)
    centre, side = (corner + other) * 0.5, other - corner
    centre = centre + side * deltas[..., :2]
    half = side * deltas[..., 2:].clamp(-limit, limit).exp() * 0.5
    return clip_boxes(torch.cat([centre - half, centre + half], dim=-1), sizes)


def clip_boxes(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Cuts boxes ``(B, N, 4)`` off at the height and width of their images, ``(B, 2)``."""
    limits = sizes.to(boxes.dtype).flip(1).repeat(1, 2).unsqueeze(1)  # (B, 1, 4): w, h, w, h
    return torch.minimum(boxes.clamp(min=0), limits)


def pool_by_roi_align(
    x: Tensor,
    boxes: Tensor,
    *,
    output_size: Sequence[int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign of the boxes of each image; RoiAlign in ONNX.

    Args:
        x: Map, ``(B, C, H, W)``.
        boxes: ``(B, N, 4)``.
        output_size: Rows and columns, h and w.
        scale: Places of the map per pixel.
        sampling_ratio: Samples per cell and axis, 0 for as many as the map has places there.
        aligned: Whether to shift by half a place, as mmcv's RoIAlign does.

    Returns:
        ``(B * N, C, h, w)``, image by image.
    """
    return roi_align(x, rois_of(boxes), output_size, scale, sampling_ratio, aligned)


def pool_by_grid(
    x: Tensor,
    boxes: Tensor,
    *,
    output_size: Sequence[int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """:func:`pool_by_roi_align` out of GridSample, for runtimes without RoiAlign.

    The same where all samples lie on the map, as those of a box inside the image do; but
    ``sampling_ratio`` 0 means :data:`SAMPLES`, because as many samples as a box has places there
    would be a shape that depends on values.
    """
    samples = sampling_ratio or SAMPLES
    corners, others = (boxes * scale - (0.5 if aligned else 0.0)).split(2, dim=-1)
    sides = others - corners
    if not aligned:
        sides = sides.clamp(min=1)
    axes = []
    for axis, cells in zip((1, 0), output_size):
        steps = (torch.arange(cells * samples, device=x.device).to(boxes.dtype) + 0.5) / (
            cells * samples
        )
        places = corners[..., axis : axis + 1] + sides[..., axis : axis + 1] * steps
        axes.append((2 * places + 1) / x.shape[3 - axis] - 1)  # -1 to 1 from border to border
    shape = *axes[0].shape, axes[1].shape[2]  # (B, N, h * samples, w * samples)
    rows, columns = axes[0].unsqueeze(3).expand(shape), axes[1].unsqueeze(2).expand(shape)
    grid = torch.stack([columns, rows], dim=-1).flatten(1, 2).to(x.dtype)
    pooled = avg_pool2d(grid_sample(x, grid, padding_mode='border', align_corners=False), samples)
    pooled = pooled.reshape(x.shape[0], x.shape[1], -1, *output_size)  # (B, C, N, h, w)
    return pooled.transpose(1, 2).flatten(0, 1)


class RoiPooling(NamedTuple):
    """How boxes are pooled from the levels of a pyramid.

    Attributes:
        strides: Stride of each level.
        finest_scale: A box of up to twice this scale (root of its area) goes to the first level,
            one of up to four times to the second, and so on.
        output_size: See :func:`pool_by_roi_align`, as for the next two.
        sampling_ratio: Samples per cell and axis.
        aligned: Whether to shift by half a place.
    """

    strides: Sequence[int]
    finest_scale: float
    output_size: Sequence[int]
    sampling_ratio: int
    aligned: bool


def pooled_rois(
    maps: Sequence[Tensor],
    boxes: Tensor,
    settings: RoiPooling,
    pool: Callable[..., Tensor] = pool_by_roi_align,
) -> Tensor:
    """RoIAlign of boxes on the pyramid level that suits their size.

    Every level pools every box: a box of another level as a single cell, which costs next to
    nothing, and is then replaced by zeros.

    Args:
        maps: Pyramid, ``(B, C, H_i, W_i)`` each.
        boxes: ``(B, N, 4)``.
        settings: One of its strides for each map.
        pool: Pools the boxes of one level.

    Returns:
        ``(B * N, C, h, w)``, image by image.
    """
    level = levels_of(boxes, len(maps), settings.finest_scale).unsqueeze(2)
    pooled = 0.0
    for index, (x, stride) in enumerate(zip(maps, settings.strides)):
        here = level == index  # (B, N, 1)
        cell = boxes.new_tensor([0.0, 0.0, stride, stride]).expand_as(boxes)
        x = x.to(boxes.dtype)  # boxes of half precision would be off by pixels
        features = pool(
            x,
            torch.where(here, boxes, cell),
            output_size=settings.output_size,
            scale=1 / stride,
            sampling_ratio=settings.sampling_ratio,
            aligned=settings.aligned,
        )
        pooled = pooled + torch.where(here.reshape(-1, 1, 1, 1), features, 0.0)
    return pooled


def rois_pooled_by_level(maps: Sequence[Tensor], boxes: Tensor, settings: RoiPooling) -> Tensor:
    """:func:`pooled_rois` where shapes may depend on values: a level pools its own boxes only.

    One more box, of a single place, goes to every level, so that none is without boxes.
    """
    rois = rois_of(boxes)  # (R, 5)
    last = rois.shape[0]
    rois = torch.cat([rois, rois.new_tensor([[0.0, 0.0, 0.0, 1.0, 1.0]])])
    level = levels_of(boxes, len(maps), settings.finest_scale).flatten()  # (R,)
    chosen = [
        torch.cat([(level == index).nonzero()[:, 0], level.new_full((1,), last).to(torch.int64)])
        for index in range(len(maps))
    ]
    pooled = [
        roi_align(
            x.to(rois.dtype),
            rois[here],
            settings.output_size,
            1 / stride,
            settings.sampling_ratio,
            settings.aligned,
        )
        for x, stride, here in zip(maps, settings.strides, chosen)
    ]
    order = torch.cat(chosen)
    places = torch.arange(order.shape[0], device=order.device)
    places = torch.zeros_like(places).scatter(0, order, places)[:last]
    return torch.cat(pooled)[places]


def levels_of(boxes: Tensor, count: int, finest_scale: float) -> Tensor:
    """The level of a pyramid that suits the size of each box: ``(B, N, 4) -> (B, N)``, float.

    Args:
        boxes: As ``x1, y1, x2, y2``.
        count: Number of levels.
        finest_scale: See :class:`RoiPooling`.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    scale = (sides[..., 0] * sides[..., 1]).sqrt()
    return (scale / finest_scale + SCALE_OFFSET).log2().floor().clamp(0, count - 1)


def rois_of(boxes: Tensor) -> Tensor:
    """Boxes of all images in one list, the image of each first: ``(B, N, 4) -> (B * N, 5)``."""
    images = torch.arange(boxes.shape[0], device=boxes.device).to(boxes.dtype)
    images = images.reshape(-1, 1, 1).expand(-1, boxes.shape[1], -1)
    return torch.cat([images, boxes], dim=2).flatten(0, 1)


class AdaptiveAveragePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products, right at every size in ONNX as well.

    Args:
        output_size: Rows and columns of the result, h and w, or one number for both.
    """

    def __init__(self, output_size: int | Sequence[int]) -> None:
        super().__init__()
        sizes = (output_size,) * 2 if isinstance(output_size, int) else tuple(output_size)
        self.output_size = sizes

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, h, w)``."""
        rows, columns = (
            _cell_weights(x, axis, cells) for axis, cells in zip((2, 3), self.output_size)
        )
        return rows @ x @ columns.transpose(0, 1)


def _cell_weights(x: Tensor, axis: int, cells: int) -> Tensor:
    """Weights of the positions along an axis in each cell's mean: ``(cells, size)``."""
    size = x.shape[axis]
    places = torch.arange(size, device=x.device).to(torch.float32)
    starts, ends = [], []
    for cell in range(cells):
        starts.append(cell * size // cells)
        ends.append(((cell + 1) * size + cells - 1) // cells)
    inside = [(places >= start) & (places < end) for start, end in zip(starts, ends)]
    weights = torch.stack(inside).to(x.dtype)
    return weights / weights.sum(dim=1, keepdim=True)
