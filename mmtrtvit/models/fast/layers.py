"""Convolutions and linear layers for inference, by the library that is fastest.

That is oneDNN on the CPU in fp32 (:mod:`.onednn`), and cuDNN with cuBLASLt on a GPU in half
precision (:mod:`.cudnn`). Everywhere else, in a graph that is traced and where a gradient is
needed, PyTorch's own functions compute the same.
"""

from math import ceil

import torch
from torch import Tensor, nn

from ..layers import added, channels_last, is_traced, replace_modules
from . import cudnn, onednn

# About as many pixels of an image as a stem takes at a time, so that its feature maps fit the
# cache. To measure again with benchmarks/scaling.py, which times models by the size of the image.
STRIP_PIXELS = 600_000


class FastConv(nn.Conv2d):
    """A convolution with the addition and the ReLU that may follow it.

    Args:
        conv: The convolution, padded with zeros by numbers; its weights are taken over.
        relu: Whether negative values become zero at the end.
    """

    def __init__(self, conv: nn.Conv2d, relu: bool = False) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            device='meta',
        )
        self.weight, self.bias, self.relu = conv.weight, conv.bias, relu
        self.packed = onednn.Packed()
        self.pointwise = (
            conv.kernel_size == conv.stride == (1, 1)
            and conv.padding == (0, 0)
            and conv.groups == 1
        )

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """``(B, C, H, W) -> (B, C', H', W')``.

        Args:
            x: Feature maps.
            other: Added before the ReLU, ``(B, C', H', W')``.
        """
        weight = self.weight
        if onednn.takes(x, weight):
            return onednn.convolution(self, x, weight, other)
        if cudnn.takes(x, weight):
            return cudnn.convolution(self, x, other)
        return added(super().forward(x), other, self.relu)


class FastLinear(nn.Linear):
    """Computes an ``nn.Linear``.

    Args:
        layer: The layer; its weights are taken over.
    """

    relu = False

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, device='meta')
        self.weight, self.bias = layer.weight, layer.bias
        self.packed = onednn.Packed()

    def forward(self, x: Tensor) -> Tensor:
        """``(..., C) -> (..., C')``."""
        weight = self.weight
        if onednn.takes(x, weight):
            return onednn.product(self, x, weight)
        return super().forward(x)


class FastStem(nn.Sequential):
    """Layers that take the images of a batch one by one.

    Their large feature maps then stay in the cache, and their memory is used again. If each layer
    is a 3x3 convolution of stride 2, large images are also taken in strips.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W) -> (B, C, H', W')``."""
        if is_traced() or not onednn.takes(x, self[0].weight):
            return super().forward(x)
        halving = all(
            isinstance(layer, FastConv) and layer.kernel_size == (3, 3) and layer.stride == (2, 2)
            for layer in self
        )
        height, width = x.shape[2:]
        strips = ceil(height * width / STRIP_PIXELS) if halving else 1
        stride = 2 ** len(self)
        rows = ceil(height / strips / stride) * stride
        return _joined([self._in_strips(image, rows, stride) for image in x.split(1)], dim=0)

    def _in_strips(self, x: Tensor, rows: int, stride: int) -> Tensor:
        """Computes one image in strips of ``rows`` rows.

        A 3x3 convolution of stride 2 needs one row above a strip that begins at an even row, and
        none below. So each strip begins one row of the output earlier, and only that row, which is
        wrong, is dropped.
        """
        maps = []
        for top in range(0, x.shape[2], rows):
            strip = x[:, :, max(top - stride, 0) : top + rows]
            maps.append(super().forward(channels_last(strip))[:, :, bool(top) :])
        return _joined(maps, dim=2)


def replace_linear(model: nn.Module) -> None:
    """Makes every plain ``nn.Linear`` of a model in eval mode a :class:`FastLinear`, in place."""

    def make(layer: nn.Linear) -> nn.Linear:
        plain = type(layer) is nn.Linear and not layer._forward_hooks | layer._forward_pre_hooks
        return FastLinear(layer) if plain else layer

    replace_modules(model, nn.Linear, make)


def _joined(maps: list[Tensor], dim: int) -> Tensor:
    return maps[0] if len(maps) == 1 else torch.cat(maps, dim)
