"""Half precision for the dense part of a module to export."""

import torch
from torch import Tensor, nn

from ...engine.precision import convert
from ...models import fuse

# The parts of an exported detector or segmentor that run in half. Post-processing and RoIAlign
# would lose too much by the rounding.
DENSE = ('backbone', 'neck', 'head', 'rpn_head', 'bbox_head', 'mask_head', 'decode_head')
CAST_INPUTS = ('backbone', 'bbox_head', 'mask_head')
CAST_OUTPUTS = ('bbox_head', 'mask_head')  # post-processing casts those of the others itself


def half(module: nn.Module) -> nn.Module:
    """Returns a copy whose backbone, neck and heads run in half precision.

    Inputs, outputs and post-processing stay float32: the image is cast once, a head's outputs where
    post-processing begins, and RoIAlign takes float32 feature maps and boxes. BatchNorm is folded
    into the convolution before it while the weights are still float32. The file computes
    normalisations, softmax and means in float32 as well: see :func:`.half.sum_in_float`.

    Args:
        module: What :func:`.support.module_to_export` returns.

    Raises:
        UserError: If a weight is too large for half; the message names it.
    """
    module = fuse(module)
    for name in DENSE:
        part = getattr(module, name, None)
        if part is None:
            continue
        convert(part, torch.half, name, instead='Export with fp32.')
        if name in CAST_INPUTS:
            part.register_forward_pre_hook(_inputs_to_half)
        if name in CAST_OUTPUTS:
            part.register_forward_hook(_outputs_to_float)
    return module


def _inputs_to_half(part: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.half() for x in inputs)


def _outputs_to_float(
    part: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor | tuple[Tensor, ...]
) -> Tensor | tuple[Tensor, ...]:
    if isinstance(outputs, Tensor):
        return outputs.float()
    return tuple(x.float() for x in outputs)
