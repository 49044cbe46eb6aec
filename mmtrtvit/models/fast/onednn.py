"""Convolutions and products by oneDNN, which computes them on the CPU in fp32 and bf16.

oneDNN can add and apply a ReLU while it computes. PyTorch calls it for convolutions without these,
and leaves products of fp32 matrices to MKL, which does not use the full vector width of AMD's
processors; ``benchmarks/density.py`` times both. The operators called here are those that
TorchInductor writes into its code.

oneDNN reads weights in a layout of its own. Linear layers, 1x1 and depthwise convolutions keep a
second copy of them in that layout, beside PyTorch's copy, which a state dict has; otherwise each
call would convert them again. For other convolutions the best layout depends on the size of the
image. Small products are left to PyTorch, whose calls take less time.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..layers import added, is_traced

# Multiplications; with fewer, oneDNN takes longer to call than to compute. To measure again with
# benchmarks/versus_timm.py: EfficientViT's heads have many such products.
SMALL_PRODUCT = 2**22


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN computes these feature maps or tokens.

    It does for fp32 on the CPU, and for bf16 where it can, without gradients and outside of a graph
    that is traced.
    """
    return (
        not is_traced()
        and x.is_cpu
        and x.dtype == weight.dtype
        and (x.dtype == torch.float32 or x.dtype == torch.bfloat16 and _takes_bf16())
        and not x.requires_grad
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled('cpu')
    )


@cache
def _takes_bf16() -> bool:
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Packed:
    """A weight in oneDNN's layout, converted at the first use and again after each change.

    A change in place of ``weight.data`` is not seen, since PyTorch does not count it. Copies and
    pickles are empty.
    """

    def __init__(self) -> None:
        self._made: tuple | None = None

    def __reduce__(self) -> tuple:
        return Packed, ()

    def get(self, weight: Tensor, pack: Callable[..., Tensor], *args: Any) -> Tensor:
        """Returns ``pack(weight, *args)``, of this call or of one before."""
        if weight.is_inference():  # nor are its changes counted
            return weight
        made = self._made  # another thread may put a new one there
        if made is None or made[:2] != (weight.data_ptr(), weight._version):
            source = weight.detach()  # as long as it is kept, its address is not used again
            made = self._made = weight.data_ptr(), weight._version, pack(source, *args), source
        return made[2]


def convolution(conv: nn.Conv2d, x: Tensor, other: Tensor | None) -> Tensor:
    """Computes a :class:`.layers.FastConv`: ``(B, C, H, W) -> (B, C', H', W')``."""
    if conv.pointwise:  # a linear layer over tokens does less around the same product
        tokens = None if other is None else other.permute(0, 2, 3, 1)
        x = product(
            x.permute(0, 2, 3, 1),
            conv.weight.flatten(1),
            bias=conv.bias,
            packed=conv.packed,
            other=tokens,
            relu=conv.relu,
        )
        return x.permute(0, 3, 1, 2)
    settings = conv.padding, conv.stride, conv.dilation, conv.groups
    weight = conv.weight
    if conv.groups == conv.in_channels:
        pack = torch.ops.mkldnn._reorder_convolution_weight
        weight = conv.packed.get(weight, pack, *settings, x.shape)
    op = torch.ops.mkldnn._convolution_pointwise
    if other is None:
        return op(x, weight, conv.bias, *settings, 'relu' if conv.relu else 'none', [], '')
    if x.dtype == torch.bfloat16 and conv.relu:  # PyTorch 2.14.1 has no such sum
        return added(op(x, weight, conv.bias, *settings, 'none', [], ''), other, relu=True)
    return op.binary(
        x, other, weight, conv.bias, *settings, 'add', None, 'relu' if conv.relu else None, [], None
    )


def product(
    x: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None,
    packed: Packed,
    other: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Computes a linear layer over tokens, ``(..., C) -> (..., C')``.

    Args:
        x: Tokens, ``(..., C)``.
        weight: Weights, ``(C', C)``.
        bias: Bias, ``(C',)``.
        packed: Keeps the weights in oneDNN's layout.
        other: Added before the ReLU, ``(..., C')``.
        relu: Whether negative values become zero at the end.
    """
    tokens = x.shape[:-1].numel()
    if tokens * weight.numel() < SMALL_PRODUCT:
        return added(linear(x, weight, bias), other, relu)
    weight = packed.get(weight, torch.ops.mkldnn._reorder_linear_weight, tokens)
    op = torch.ops.mkldnn._linear_pointwise
    if other is None:
        return op(x, weight, bias, 'relu' if relu else 'none', [], '')
    return added(op.binary(x, other, weight, bias, 'add'), None, relu)
