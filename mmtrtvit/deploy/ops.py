"""What detectors and segmentors need beyond plain layers, in forms that ONNX has no trouble with.

Every function here works on batches, has shapes that depend on no value, and gives the same numbers
in PyTorch and in ONNX. Nothing branches on a size, so a graph holds for every height and width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

# Scores at or below zero mean: no candidate.
NOTHING = -1.


@torch.library.custom_op('mmtrtvit::keep_by_nms', mutates_args=())
def keep_by_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression of each picture; NonMaxSuppression in ONNX.

    Args:
        boxes: ``(B, N, 4)`` as ``x1, y1, x2, y2``, float32.
        scores: ``(B, N)``; what has no score above 0 neither survives nor suppresses.
        iou_threshold: A box goes if its IoU with a better one that stays is greater.

    Returns:
        1 for a box that stays and 0 for any other, ``(B, N)``, float32.
    """
    keep = torch.zeros_like(scores)
    for picture, (picture_boxes, picture_scores) in enumerate(zip(boxes, scores)):
        candidates = (picture_scores > 0).nonzero()[:, 0]
        chosen = nms(picture_boxes[candidates], picture_scores[candidates], iou_threshold)
        keep[picture, candidates[chosen]] = 1
    return keep


@keep_by_nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return torch.empty_like(scores)


def separate(boxes: Tensor, groups: Tensor) -> Tensor:
    """Moves boxes of different groups apart, so that one NMS treats each group on its own.

    Args:
        boxes: ``(B, N, 4)``.
        groups: Number of each box's group, e.g. class or pyramid level, ``(B, N)`` or ``(N,)``.

    Returns:
        ``(B, N, 4)``; as in mmcv, a group is the largest coordinate of the picture plus 1 further.
    """
    stride = boxes.amax(dim=(1, 2), keepdim=True) + 1
    return boxes + groups.to(boxes.dtype).unsqueeze(-1) * stride


def best_anchors(logits: Tensor, values: Sequence[Tensor], count: int) -> tuple[Tensor, ...]:
    """The ``count`` anchors of each picture with the highest logit of any class.

    The best ``count`` pairs of anchor and class are among them, whatever their classes.

    Args:
        logits: ``(B, N, C)``.
        values: What else to select, ``(B, N, D)`` each.
        count: K. Where there are fewer than K anchors, the rest has logits far below all others.

    Returns:
        Logits ``(B, K, C)`` and each of the values ``(B, K, D)``.
    """
    tensors = [padded(logits, count, -1e4), *(padded(value, count) for value in values)]
    index = tensors[0].amax(dim=2).topk(count).indices
    return tuple(take(tensor, index) for tensor in tensors)


def best_pairs(scores: Tensor, boxes: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` best pairs of box and class of each picture, best first.

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


def padded(x: Tensor, count: int, value: float = 0.) -> Tensor:
    """Appends ``count`` rows of a value: ``(B, N, D) -> (B, N + count, D)``."""
    return torch.cat([x, x.new_full((1, count, x.shape[2]), value).expand(x.shape[0], -1, -1)], 1)


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows of each picture: ``(B, N, D), (B, K) -> (B, K, D)``."""
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
    means: Sequence[float],
    stds: Sequence[float],
    sizes: Tensor,
    max_ratio: float = 16 / 1000,
) -> Tensor:
    """Boxes from anchors and what a head predicts of them, cut off at the border of the picture.

    Args:
        anchors: ``(B, N, 4)`` as ``x1, y1, x2, y2``.
        deltas: ``(B, N, 4)`` as shifts of the centre and logarithms of the growth, normalised.
        means: Means of the four deltas.
        stds: Their standard deviations.
        sizes: Height and width of each picture, ``(B, 2)``.
        max_ratio: A side grows or shrinks by no more than this.

    Returns:
        ``(B, N, 4)`` as ``x1, y1, x2, y2``.
    """
    deltas = deltas * deltas.new_tensor(stds) + deltas.new_tensor(means)
    limit = abs(torch.log(torch.tensor(max_ratio)).item())
    corner, other = anchors.split(2, dim=-1)
    centre, side = (corner + other) * .5, other - corner
    centre = centre + side * deltas[..., :2]
    half = side * deltas[..., 2:].clamp(-limit, limit).exp() * .5
    return clip_boxes(torch.cat([centre - half, centre + half], dim=-1), sizes)


def clip_boxes(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Cuts boxes ``(B, N, 4)`` off at the height and width of their pictures, ``(B, 2)``."""
    limits = sizes.to(boxes.dtype).flip(1).repeat(1, 2).unsqueeze(1)  # (B, 1, 4): w, h, w, h
    return torch.minimum(boxes.clamp(min=0), limits)


def pooled_rois(
    maps: Sequence[Tensor],
    boxes: Tensor,
    strides: Sequence[int],
    finest_scale: float,
    output_size: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign of boxes on the pyramid level that suits their size.

    Every level pools every box: a box of another level as a single cell, which costs next to
    nothing, and is then replaced by zeros.

    Args:
        maps: Pyramid, ``(B, C, H_i, W_i)`` each.
        boxes: ``(B, N, 4)``.
        strides: Stride of each map.
        finest_scale: A box of up to twice this scale (root of its area) goes to the first level,
            one of up to four times to the second, and so on.
        output_size: Rows and columns, h and w.
        sampling_ratio: Samples per cell and axis, 0 for as many as the map has there.
        aligned: Whether to shift by half a pixel, as mmcv's RoIAlign does.

    Returns:
        ``(B * N, C, h, w)``, picture by picture.
    """
    pictures = torch.arange(boxes.shape[0], device=boxes.device).to(boxes.dtype)
    pictures = pictures.reshape(-1, 1, 1).expand(-1, boxes.shape[1], -1)
    pictures, boxes = pictures.flatten(0, 1), boxes.flatten(0, 1)  # (B * N, 1), (B * N, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    scale = (sides[:, 0] * sides[:, 1]).sqrt()
    level = (scale / finest_scale + 1e-6).log2().floor().clamp(0, len(maps) - 1).unsqueeze(1)
    pooled = 0.
    for index, (x, stride) in enumerate(zip(maps, strides)):
        here = level == index
        cell = boxes.new_tensor([[0., 0., stride, stride]]).expand_as(boxes)
        rois = torch.cat([pictures, torch.where(here, boxes, cell)], dim=1)
        x = x.to(boxes.dtype)  # boxes of half precision would be off by pixels
        features = roi_align(x, rois, output_size, 1 / stride, sampling_ratio, aligned)
        pooled = pooled + torch.where(here[:, :, None, None], features, 0.)
    return pooled


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
            _cell_weights(x, axis, cells) for axis, cells in zip((2, 3), self.output_size))
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
