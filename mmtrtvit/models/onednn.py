"""Convolutions and linear layers for inference, by oneDNN where the CPU computes in fp32.

oneDNN adds and rectifies while it computes. PyTorch calls it for convolutions, without that, and
leaves products of fp32 matrices to MKL, which does not use the full width of the vectors of AMD's
processors; ``benchmarks/density.py`` times both. The operators called here are those that
TorchInductor writes into its code. Where they do not hold (another device or precision, a graph
that is traced, a gradient that is asked for) PyTorch's own functions compute the same.

oneDNN reads weights in an order of its own. Linear layers, 1x1 and depthwise convolutions keep them
in that order too, beside PyTorch's, which a state dict has; otherwise each call would order them
anew. For other convolutions the best order depends on the size of the picture. Small products
are PyTorch's own, which are sooner begun.
"""

from collections.abc import Callable
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .layers import channels_last

STRIP_PIXELS = 600_000  # of a picture, about as many as a stem takes at a time
SMALL_PRODUCT = 2**21  # multiplications; with fewer, oneDNN takes longer to call than to compute


class Packed:
    """A weight in oneDNN's order: made when it is first asked for, and again after each change.

    A change in place of ``weight.data`` is not seen, since PyTorch does not count it. Copies and
    pickles are empty.
    """

    def __init__(self) -> None:
        self._made = None

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


class FastConv(nn.Conv2d):
    """A convolution and what is behind it: ``(B, C, H, W) -> (B, C', H', W')``.

    Args:
        conv: The convolution, padded with zeros by numbers; its weights are taken over.
        relu: Whether negative values become zero at the end.
    """

    def __init__(self, conv: nn.Conv2d, relu: bool = False) -> None:
        super().__init__(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
            conv.dilation, conv.groups, device='meta')
        self.weight, self.bias, self.relu = conv.weight, conv.bias, relu
        self.packed = Packed()
        self.pointwise = (
            conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0)
            and conv.groups == 1)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """``other``, if given, is added before negative values become zero: (B, C', H', W')."""
        if not _onednn_takes(x):
            return _added(super().forward(x), other, self.relu)
        if self.pointwise:  # a linear layer over tokens does less around the same product
            tokens = None if other is None else other.permute(0, 2, 3, 1)
            x = _linear(
                x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias, self.packed, tokens,
                self.relu)
            return x.permute(0, 3, 1, 2)
        settings = self.padding, self.stride, self.dilation, self.groups
        weight = self.weight
        if self.groups == self.in_channels:
            pack = torch.ops.mkldnn._reorder_convolution_weight
            weight = self.packed.get(weight, pack, *settings, x.shape)
        op = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            return op(x, weight, self.bias, *settings, 'relu' if self.relu else 'none', [], '')
        return op.binary(x, other, weight, self.bias, *settings, 'add', None,
                         'relu' if self.relu else None, [], None)


class FastLinear(nn.Linear):
    """Computes an ``nn.Linear``: ``(..., C) -> (..., C')``.

    Args:
        layer: The layer; its weights are taken over.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, device='meta')
        self.weight, self.bias = layer.weight, layer.bias
        self.packed = Packed()

    def forward(self, x: Tensor) -> Tensor:
        if _onednn_takes(x):
            return _linear(x, self.weight, self.bias, self.packed)
        return super().forward(x)


class FastStem(nn.Sequential):
    """Layers that take pictures one by one, so that their large maps stay in the cache and their
    memory is used again, and large pictures in strips if each layer is a 3x3 convolution of stride
    2: ``(B, 3, H, W) -> (B, C, H', W')``."""

    def forward(self, x: Tensor) -> Tensor:
        if not _onednn_takes(x):
            return super().forward(x)
        halving = all(
            isinstance(layer, FastConv) and layer.kernel_size == (3, 3) and layer.stride == (2, 2)
            for layer in self)
        height, width = x.shape[2:]
        strips = ceil(height * width / STRIP_PIXELS) if halving else 1
        stride = 2**len(self)
        rows = ceil(height / strips / stride) * stride
        return _joined([self._in_strips(picture, rows, stride) for picture in x.split(1)], dim=0)

    def _in_strips(self, x: Tensor, rows: int, stride: int) -> Tensor:
        """A 3x3 convolution of stride 2 needs one row above a strip that begins at an even row, and
        none below: a strip that begins one row of the output earlier has only that row wrong."""
        maps = []
        for top in range(0, x.shape[2], rows):
            strip = x[:, :, max(top - stride, 0):top + rows]
            maps.append(super().forward(channels_last(strip))[:, :, bool(top):])
        return _joined(maps, dim=2)


def replace_linear(model: nn.Module) -> None:
    """Makes every plain ``nn.Linear`` of a model in eval mode a :class:`FastLinear`, in place."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and not child._forward_hooks | child._forward_pre_hooks:
                setattr(module, name, FastLinear(child))


def _onednn_takes(x: Tensor) -> bool:
    return (
        x.is_cpu and x.dtype == torch.float32 and not x.requires_grad
        and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled('cpu')
        and not torch.jit.is_tracing() and not torch.compiler.is_compiling())


def _linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, packed: Packed, other: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    tokens = x.shape[:-1].numel()
    if tokens * weight.numel() < SMALL_PRODUCT:
        return _added(linear(x, weight, bias), other, relu)
    weight = packed.get(weight, torch.ops.mkldnn._reorder_linear_weight, tokens)
    op = torch.ops.mkldnn._linear_pointwise
    if other is None:
        return op(x, weight, bias, 'relu' if relu else 'none', [], '')
    return _added(op.binary(x, other, weight, bias, 'add'), None, relu)


def _added(x: Tensor, other: Tensor | None, relu: bool) -> Tensor:
    if other is not None:
        x = x.add_(other)
    return x.relu_() if relu else x


def _joined(maps: list[Tensor], dim: int) -> Tensor:
    return maps[0] if len(maps) == 1 else torch.cat(maps, dim)
