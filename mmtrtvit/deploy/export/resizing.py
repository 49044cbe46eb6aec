"""Resizing in the graph: a test pipeline's Resize, in the numbers of OpenCV.

OpenCV resizes uint8 images bilinearly in integers: weights of 11 bits, the products of rows cut to
the bits that a register holds. The graph computes the same integers, with ops that ONNX Runtime and
TensorRT have, so the network sees what it sees behind a host that resizes.
"""

import torch
from mmengine.config import Config
from torch import Tensor

from ...errors import UserError
from ...runtime.pipeline import Pipeline, Resize
from ..description import transforms_of

OPTION = "onnx_config.preprocessing='resize'"
WEIGHT = 1 << 11  # the weight of a pixel that has no share in its neighbour


def pipeline_resize(config: Config) -> Resize:
    """Returns what resizes the images in a config's test pipeline, for a graph that does it.

    Raises:
        UserError: If the pipeline does not resize, does it in another way than the graph can, or
            does something else to images besides.
    """
    pipeline = Pipeline(transforms_of(config), config.filename)
    resize = pipeline.resize
    others = [type(each).__name__ for each in (pipeline.crop, *pipeline.pads) if each]
    if not isinstance(resize, Resize) or others:
        found = [type(resize).__name__] if resize else []
        raise UserError(
            f'{OPTION}: the test pipeline of {config.filename} must resize by Resize, and do '
            f'nothing else to images, but it has {" and ".join([*found, *others]) or "no Resize"}. '
            'Take onnx_config.preprocessing=True.'
        )
    if (resize.backend, resize.interpolation) != ('cv2', 'bilinear'):
        raise UserError(
            f'{OPTION}: Resize of {config.filename} has backend={resize.backend!r} and '
            f"interpolation={resize.interpolation!r}, but a graph knows 'cv2' and 'bilinear' only. "
            'Take onnx_config.preprocessing=True.'
        )
    return resize


def resized(images: Tensor, resize: Resize) -> tuple[Tensor, Tensor]:
    """Resizes images as mmcv does with OpenCV.

    The pixels are OpenCV's as long as each side times the side that it becomes stays below 8
    million, and at most one grey level off beyond.

    Args:
        images: ``(B, H, W, 3)``, uint8.
        resize: To what size.

    Returns:
        The images, ``(B, h, w, 3)``, int32, and ``h`` and ``w`` for each of them, ``(B, 2)``,
        float32.
    """
    x = images.to(torch.int32)  # TensorRT asks nothing of uint8, not even its shape
    source = torch._shape_as_tensor(x)[1:3]
    target = _target(source, resize)
    rows, row_weights = _neighbours(source[0], target[0])
    columns, column_weights = _neighbours(source[1], target[1])
    x = sum(
        x.index_select(2, place) * torch.stack([weight] * 3, dim=1)  # (w, 3): rows of one length
        for place, weight in zip(columns, column_weights)
    )
    x = x >> 4
    x = sum(
        x.index_select(1, place) * weight.reshape(-1, 1, 1) >> 16
        for place, weight in zip(rows, row_weights)
    )
    sizes = target.to(torch.float32).expand(x.shape[0], 2)
    return x + 2 >> 2, sizes


def _target(source: Tensor, resize: Resize) -> Tensor:
    """Height and width that images get, ``(2,)``, int64, from those that they have.

    Halves are rounded up; mmcv, which computes in floats, rounds a few of them down.
    """
    width, height = resize.size
    if not resize.keep_ratio:
        return torch.tensor([height, width])
    longer, shorter = torch.maximum(source[0], source[1]), torch.minimum(source[0], source[1])
    by_longer = _rounded(source * max(resize.size), longer)
    by_shorter = _rounded(source * min(resize.size), shorter)
    return torch.minimum(by_longer, by_shorter).clamp(min=1)


def _rounded(numerator: Tensor, denominator: Tensor) -> Tensor:
    """A ratio of positive integers as the nearest integer."""
    return torch.div(2 * numerator + denominator, 2 * denominator, rounding_mode='trunc')


def _neighbours(source: Tensor, target: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The two pixels along an axis that make each of the new ones: their places and weights.

    Args:
        source: Length of the axis.
        target: Length that it gets.

    Returns:
        Two places, int64, and the weight of each in parts of :data:`WEIGHT`, int32; ``(target,)``.
    """
    # Centres of the pixels. Exact up to the division, which rounds as OpenCV does.
    twice = 2 * torch.arange(target).to(torch.float32) + 1
    centre = (twice * source - target) / (2 * target)
    lower = centre.floor()
    share = centre - lower
    places = [each.clamp(min=0).minimum((source - 1).to(each)) for each in (lower, lower + 1)]
    weights = [(each * WEIGHT).round() for each in (1 - share, share)]
    return [each.to(torch.int64) for each in places], [each.to(torch.int32) for each in weights]
