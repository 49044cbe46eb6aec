"""Convolutions and products by oneDNN, which computes them on the CPU in fp32 and bf16.

oneDNN can add and apply a ReLU while it computes. PyTorch calls it for convolutions without these,
and leaves products of fp32 matrices to MKL, which does not use the full vector width of AMD's
processors; ``benchmarks/density.py`` times both. The operators called here are those that
TorchInductor writes into its code. A graph of ``torch.compile`` has them inside of operators of our
own, ``mmtrtvit::product`` and ``mmtrtvit::convolution``.

oneDNN reads weights in a layout of its own. Linear layers, 1x1 and depthwise convolutions keep a
second copy of them in that layout, beside PyTorch's copy, which a state dict has; otherwise each
call would convert them again. For other convolutions the best layout depends on the size of the
image. Small products are left to PyTorch, whose calls take less time.
"""

from collections.abc import Callable, MutableMapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear
from torch.utils.weak import WeakTensorKeyDictionary

from ..layers import added, is_exported, is_traced

# Multiplications; with fewer, oneDNN takes longer to call than to compute. To measure again with
# benchmarks/versus_timm.py: EfficientViT's heads have many such products.
SMALL_PRODUCT = 2**22
# Numbers in a weight; with fewer, a graph of torch.compile has PyTorch's operator for it. The size
# of the image does not decide, so that one graph holds for every size.
SMALL_WEIGHT = 2**14
_IS_AVAILABLE = torch.backends.mkldnn.is_available()


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN computes these feature maps or tokens.

    It does for fp32 on the CPU, and for bf16 where it can, without gradients and outside of a graph
    that is exported. A graph of ``torch.compile`` keeps the calls as operators.
    """
    return (
        not is_exported()
        and x.is_cpu
        and x.dtype == weight.dtype
        and not x.requires_grad
        and (x.dtype == torch.float32 or x.dtype == torch.bfloat16 and _takes_bf16())
        and _is_enabled()
        and not torch.is_autocast_enabled('cpu')
    )


@torch.compiler.assume_constant_result
def _is_enabled() -> bool:
    return _IS_AVAILABLE and torch.backends.mkldnn.enabled


@torch.compiler.assume_constant_result
def _takes_bf16() -> bool:
    return _has_bf16()


@cache
def _has_bf16() -> bool:
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
            return pack(weight, *args)
        made = self._made  # another thread may put a new one there
        if made is None or made[0] != weight.data_ptr() or made[1] != weight._version:
            source = weight.detach()  # as long as it is kept, its address is not used again
            made = self._made = weight.data_ptr(), weight._version, pack(source, *args), source
        return made[2]


def convolution(conv: nn.Conv2d, x: Tensor, weight: Tensor, other: Tensor | None) -> Tensor:
    """Computes a :class:`.layers.FastConv`: ``(B, C, H, W) -> (B, C', H', W')``."""
    if conv.pointwise:  # a linear layer over tokens does less around the same product
        tokens = None if other is None else other.permute(0, 2, 3, 1)
        return product(conv, x.permute(0, 2, 3, 1), weight, tokens).permute(0, 3, 1, 2)
    settings = conv.padding, conv.stride, conv.dilation, conv.groups
    if is_traced():
        return CONVOLUTION(x, weight, conv.bias, other, *settings, conv.relu)
    return _convolve(conv.packed, x, weight, conv.bias, other, *settings, conv.relu)


def product(layer: nn.Module, x: Tensor, weight: Tensor, other: Tensor | None = None) -> Tensor:
    """Computes a :class:`.layers.FastLinear`, or a :class:`.layers.FastConv` over tokens.

    Args:
        layer: The layer.
        x: Tokens, ``(..., C)``.
        weight: The layer's, ``(C', C)`` or ``(C', C, 1, 1)``.
        other: Added before the ReLU, ``(..., C')``.
    """
    if not is_traced():
        return _multiply(layer.packed, x, weight, layer.bias, other, layer.relu)
    if weight.numel() < SMALL_WEIGHT:
        return added(linear(x, _matrix(weight), layer.bias), other, layer.relu)
    return PRODUCT(x, weight, layer.bias, other, layer.relu)


def _convolve(
    packed: Packed,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    other: Tensor | None,
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    relu: bool,
) -> Tensor:
    settings = padding, stride, dilation, groups
    if groups == x.shape[1]:
        pack = torch.ops.mkldnn._reorder_convolution_weight
        weight = packed.get(weight, pack, *settings, x.shape)
    op = torch.ops.mkldnn._convolution_pointwise
    if other is None:
        return op(x, weight, bias, *settings, 'relu' if relu else 'none', [], '')
    if x.dtype == torch.bfloat16 and relu:  # PyTorch 2.14.1 has no such sum
        return added(op(x, weight, bias, *settings, 'none', [], ''), other, relu=True)
    return op.binary(
        x, other, weight, bias, *settings, 'add', None, 'relu' if relu else None, [], None
    )


def _multiply(
    packed: Packed,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    other: Tensor | None,
    relu: bool,
) -> Tensor:
    tokens = x.shape[:-1].numel()
    if tokens * weight.numel() < SMALL_PRODUCT:
        return added(linear(x, _matrix(weight), bias), other, relu)
    weight = packed.get(weight, _pack, tokens)
    op = torch.ops.mkldnn._linear_pointwise
    if other is None:
        return op(x, weight, bias, 'relu' if relu else 'none', [], '')
    return added(op.binary(x, other, weight, bias, 'add'), None, relu)


def _pack(weight: Tensor, tokens: int) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(_matrix(weight), tokens)


def _matrix(weight: Tensor) -> Tensor:
    return weight if weight.ndim == 2 else weight.flatten(1)


# For graphs of torch.compile, which hand over weights and not the layers that they are of. Inductor
# itself leaves products to MKL, and convolutions convert their weights at each call.
_of_weights: MutableMapping[Tensor, Packed] = WeakTensorKeyDictionary()


def _in_graph(
    compute: Callable[..., Tensor], memory_format: torch.memory_format
) -> Callable[..., Tensor]:
    def call(x: Tensor, weight: Tensor, *args: Any) -> Tensor:
        packed = _of_weights.get(weight)
        if packed is None:
            packed = _of_weights[weight] = Packed()
        y = compute(packed, x, weight, *args)
        return y.contiguous(memory_format=memory_format)

    return call


torch.library.define(
    'mmtrtvit::product',
    '(Tensor x, Tensor weight, Tensor? bias, Tensor? other, bool relu) -> Tensor',
    tags=torch.Tag.needs_fixed_stride_order,
)
torch.library.impl('mmtrtvit::product', 'CPU', _in_graph(_multiply, torch.contiguous_format))
PRODUCT = torch.ops.mmtrtvit.product


@torch.library.register_fake('mmtrtvit::product')
def _(x: Tensor, weight: Tensor, *_) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


torch.library.define(
    'mmtrtvit::convolution',
    '(Tensor x, Tensor weight, Tensor? bias, Tensor? other, int[] padding, int[] stride, '
    'int[] dilation, int groups, bool relu) -> Tensor',
    tags=torch.Tag.needs_fixed_stride_order,
)
torch.library.impl('mmtrtvit::convolution', 'CPU', _in_graph(_convolve, torch.channels_last))
CONVOLUTION = torch.ops.mmtrtvit.convolution


@torch.library.register_fake('mmtrtvit::convolution')
def _(x, weight, bias, other, padding, stride, dilation, groups, relu) -> Tensor:
    y = conv2d(x, weight, bias, stride, padding, dilation, groups)
    return y.contiguous(memory_format=torch.channels_last)
