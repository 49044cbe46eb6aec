"""Inference of a whole model in half precision, with boxes and post-processing in float32."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.utils import apply_to
from torch import Tensor, nn

from ..environment import has_bf16
from ..errors import UserError
from ..models.fast.fusion import fuse

PRECISIONS = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
# The parts of detectors, segmentors and classifiers that compute feature maps and what heads make
# of them. What lies between and behind them, such as RoIAlign, boxes and scores, is float32.
DENSE = 'backbone', 'neck', 'rpn_head', 'bbox_head', 'mask_head', 'decode_head'


def in_precision(model: nn.Module, precision: str) -> nn.Module:
    """Returns a copy for inference, see :func:`.fuse`, that computes in a precision.

    Backbone, neck and heads take and return float32. Sums, norms and softmax inside of them are as
    exact as PyTorch has them for that type.

    Args:
        model: A model of a host package, in eval mode.
        precision: A key of :data:`PRECISIONS`.

    Raises:
        UserError: If the precision is unknown, a weight is too large for it, or fp16 is asked of a
            CPU.
    """
    if precision not in PRECISIONS:
        raise UserError(f'precision {precision!r}: expected one of {", ".join(PRECISIONS)}.')
    model = fuse(model)
    dtype = PRECISIONS[precision]
    if dtype == torch.float32:
        return model
    if next(model.parameters()).is_cpu:
        _check_cpu(precision)
    for name, part in dense_parts(model):
        convert(part, dtype, name, instead='Take --precision bf16 or fp32.')
        part.forward = partial(_cast, part.forward, dtype)
    return model


def convert(part: nn.Module, dtype: torch.dtype, name: str, *, instead: str) -> None:
    """Converts the weights of a part in place.

    Args:
        part: The part.
        dtype: To what.
        name: Of the part in its model, for messages.
        instead: What to do where that is not possible, a sentence.

    Raises:
        UserError: If a weight is too large.
    """
    part.to(dtype)
    for key, weight in part.state_dict().items():
        if not weight.isfinite().all():
            raise UserError(
                f'{name}.{key} has values that half precision cannot hold: its largest number is '
                f'{torch.finfo(dtype).max:.0f}. {instead}'
            )


def _check_cpu(precision: str) -> None:
    if precision == 'fp16':
        raise UserError('--precision fp16 is for GPUs; a CPU computes in bf16 or fp32.')
    if not has_bf16():
        print_log(
            'bf16 will be slow: this processor has no instructions for it (AVX512-BF16, AMX) and '
            'emulates it. fp32 is faster here.',
            'current',
            logging.WARNING,
        )


def dense_parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Returns the outermost parts named as in :data:`DENSE`, of a cascade those of each stage."""
    found = []
    for name, child in model.named_children():
        if name not in DENSE:
            parts = dense_parts(child)
        elif isinstance(child, nn.ModuleList):
            parts = list(child.named_children())
        else:
            found.append((name, child))
            continue
        found += [(f'{name}.{inner}', part) for inner, part in parts]
    return found


def _cast(forward: Callable, dtype: torch.dtype, *args: Any, **kwargs: Any) -> Any:
    outputs = forward(*_floats(args, dtype), **_floats(kwargs, dtype))
    return _floats(outputs, torch.float32)


def _floats(data: Any, dtype: torch.dtype) -> Any:
    """Converts all floating-point tensors in nested lists, tuples and dicts."""

    def is_float(value: Any) -> bool:
        return isinstance(value, Tensor) and value.is_floating_point()

    return apply_to(data, is_float, lambda value: value.to(dtype))
