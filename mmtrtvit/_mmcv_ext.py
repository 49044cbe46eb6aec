"""Replacement for ``mmcv._ext``, which ``mmtrtvit.mmcv_ops`` loads if mmcv has no compiled one.

Signatures, argument names and results are those of mmcv's C++ extension, so that ``mmcv.ops`` runs
on top of it unchanged. Half and bfloat16 tensors are computed in float32. An op that is missing
here can be looked up, as importing ``mmcv.ops`` does for all of them, and raises when it is called.
"""

import ctypes
from collections.abc import Callable
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

_NOT_COMPILED = 'not compiled (torchvision kernels through mmtrtvit)'
_MAX_POOLING = 0


def get_compiler_version() -> str:
    """Returns what ``mmcv.ops.get_compiler_version`` reports."""
    return _NOT_COMPILED


def get_compiling_cuda_version() -> str:
    """Returns what ``mmcv.ops.get_compiling_cuda_version`` reports."""
    return _NOT_COMPILED


def _at_least_float32(*tensors: Tensor) -> list[Tensor]:
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: ``(N, 4)`` as ``x1, y1, x2, y2``.
        scores: ``(N,)``.
        iou_threshold: A box is dropped if its IoU with a kept one is greater. Rounded to float32,
            the type mmcv's kernel takes, which decides for an IoU of just that value.
        offset: 1 where a box includes the pixel at ``x2, y2``, otherwise 0.

    Returns:
        The indices of the kept boxes by descending score, ``(K,)``, int64.
    """
    boxes, scores = _at_least_float32(boxes, scores)
    boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torch.ops.torchvision.nms(boxes, scores, ctypes.c_float(iou_threshold).value)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign with average pooling.

    Args:
        input: Feature maps, ``(B, C, H, W)``.
        rois: ``(N, 5)`` as ``image index, x1, y1, x2, y2``.
        output: Written, ``(N, C, aligned_height, aligned_width)``.
        argmax_y: Used by max pooling alone, which raises here.
        argmax_x: As argmax_y.
        aligned_height: Rows of bins.
        aligned_width: Columns of bins.
        spatial_scale: Feature-map pixels per box unit.
        sampling_ratio: Samples per bin and axis, 0 for one per feature-map pixel.
        pool_mode: 1 for average, 0 for max pooling.
        aligned: Whether to shift boxes by half a feature-map pixel.
    """
    if pool_mode == _MAX_POOLING:
        _raise_missing("roi_align with pool_mode='max'")
    (features,) = _at_least_float32(input)
    output.copy_(
        torch.ops.torchvision.roi_align(
            features,
            rois.to(features.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` by its input.

    Args:
        grad_output: ``(N, C, aligned_height, aligned_width)``.
        rois: ``(N, 5)``.
        argmax_y: Used by max pooling alone, which raises here.
        argmax_x: As argmax_y.
        grad_input: Written, ``(B, C, H, W)``.
        aligned_height: Rows of bins.
        aligned_width: Columns of bins.
        spatial_scale: Feature-map pixels per box unit.
        sampling_ratio: Samples per bin and axis, 0 for one per feature-map pixel.
        pool_mode: 1 for average, 0 for max pooling.
        aligned: Whether to shift boxes by half a feature-map pixel.
    """
    if pool_mode == _MAX_POOLING:
        _raise_missing("roi_align with pool_mode='max'")
    (grad,) = _at_least_float32(grad_output)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad,
            rois.to(grad.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _focal_terms(input: Tensor, target: Tensor, weight: Tensor, alpha: float) -> tuple[Tensor, ...]:
    """Returns the sign of the true answer, its logit and its factor, each ``(N, C)``."""
    (logits,) = _at_least_float32(input)
    num_classes = logits.size(1)
    positive = target[:, None] == torch.arange(num_classes, device=target.device)
    positive = positive.to(logits.dtype)
    sign = positive * 2 - 1
    factor = positive * alpha + (1 - positive) * (1 - alpha)
    if weight.numel():
        # mmcv reads past the end of weight for a background target; here it weighs 1.
        factor = factor * F.pad(weight.to(logits.dtype), (0, 1), value=1)[target, None]
    return sign, sign * logits, factor


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Sigmoid focal loss of every logit.

    Args:
        input: Logits, ``(N, C)``.
        target: Class indices, ``(N,)``, int64, where C is background.
        weight: Factor per target class, ``(C,)``, or empty.
        output: Written, ``(N, C)``.
        gamma: Focusing exponent.
        alpha: Factor of positives, that of negatives being ``1 - alpha``.
    """
    _, logits, factor = _focal_terms(input, target, weight, alpha)
    output.copy_(-factor * torch.sigmoid(-logits) ** gamma * F.logsigmoid(logits))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Derivative of :func:`sigmoid_focal_loss_forward` by its logits.

    Args:
        input: Logits, ``(N, C)``.
        target: Class indices, ``(N,)``.
        weight: Factor per target class, ``(C,)``, or empty.
        grad_input: Written, ``(N, C)``.
        gamma: Focusing exponent.
        alpha: Factor of positives.
    """
    sign, logits, factor = _focal_terms(input, target, weight, alpha)
    wrong = torch.sigmoid(-logits)
    slope = gamma * torch.sigmoid(logits) * F.logsigmoid(logits) - wrong
    grad_input.copy_(sign * factor * wrong**gamma * slope)


def _raise_missing(op: str) -> NoReturn:
    raise RuntimeError(
        f'{op} needs an mmcv that was compiled with its ops: this one was not, and mmtrtvit serves '
        'only nms, roi_align (avg) and sigmoid_focal_loss in their place. To compile mmcv see '
        'https://mmcv.readthedocs.io/en/latest/get_started/build.html'
    )


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        _raise_missing(f'mmcv op {name!r}')

    missing.__name__ = missing.__qualname__ = name
    return missing
