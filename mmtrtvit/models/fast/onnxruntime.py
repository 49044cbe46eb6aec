"""Fused copies for ONNX Runtime on a CPU: the same numbers by the operators that are fastest there.

From one convolution to the next ONNX Runtime keeps feature maps in blocks of channels. It uses all
threads for some operators and one for others, and copies where PyTorch returns a view.

* To return the size of such a feature map, it first converts its layout. Here sizes are computed
  from the size of the images.
* Feature maps with fewer channels than a block are converted, too. Those of the stem get additional
  channels of zeros.
* Pad, Transpose, Split and Slice copy a feature map one after the other, on one thread. A
  convolution that adds a border of zeros, a Gather for each head and one after the windows do the
  same on all threads.
* Query, key and value are separate products, since Split would copy them.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..backbone import Backbone
from ..layers import replace_modules
from .efficientvit import (
    FastAttentionHead,
    FastPatchMerging,
    FastWindowAttention,
    attend,
    linear_layer,
)
from .fusion import FusedBackbone, replace_backbones
from .layers import FastConv

BLOCK = 16  # channels, on processors with AVX-512


@torch.no_grad()
def for_onnxruntime(fused: nn.Module, least_channels: int = BLOCK) -> nn.Module:
    """Makes the graph of a fused copy faster in ONNX Runtime, in single precision on a CPU.

    OpenVINO computes it faster, too, with stems as they are.

    Args:
        fused: What :func:`.fuse` returns; it must not be used afterwards. EfficientViT is changed,
            everything else stays as it is.
        least_channels: Of the feature maps in the stem; 1 leaves them as they are.

    Returns:
        A model with the same outputs except for rounding. In PyTorch it is not faster.
    """
    make = partial(OnnxBackbone, least_channels=least_channels)
    return replace_backbones(fused, make).requires_grad_(False).eval()


class OnnxBackbone(FusedBackbone):
    """What :func:`for_onnxruntime` makes of a fused backbone: it returns the same feature maps.

    Args:
        backbone: The fused backbone; it must not be used afterwards.
        least_channels: Of the feature maps in the stem.
    """

    def __init__(self, backbone: Backbone, least_channels: int = BLOCK) -> None:
        super().__init__(backbone)
        for conv, following in zip(self.stem, self.stem[1:]):
            _widen(conv, following, least_channels)
        stride = 2 ** len(self.stem)
        for stage in self.stages:
            stride *= 2 ** sum(isinstance(block, FastPatchMerging) for block in stage)
            replace_modules(stage, FastWindowAttention, partial(OnnxWindowAttention, stride=stride))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As :meth:`.Backbone.forward`; the indices of windows are computed once per stride."""
        attentions = [each for each in self.modules() if isinstance(each, OnnxWindowAttention)]
        grids = {}
        for each in attentions:
            stride, side, heads = kind = each.stride, each.window_size, len(each.heads)
            if kind not in grids:
                grids[kind] = Grid.of(x, stride, window_size=side, heads=heads)
            each.grid = grids[kind]
        try:
            return super().forward(x)
        finally:
            for each in attentions:
                each.grid = None


@dataclass(frozen=True)
class Grid:
    """Where the tokens of a feature map are in its windows.

    Attributes:
        height: Height of the feature map, H.
        width: Width of the feature map, W.
        split: For each head, index of its channels of each token of each window, in a feature map
            with a border of one token: (T,), below (H + 2) * (W + 2) * heads. Tokens that pad the
            last windows are taken from the border.
        merge: Index of each token of the feature map in the windows: (H * W,), below T.
    """

    height: int
    width: int
    split: list[Tensor]
    merge: Tensor

    @classmethod
    def of(cls, x: Tensor, stride: int, *, window_size: int, heads: int) -> 'Grid':
        """Returns the grid at a stride, in pixels of the images ``x``, (B, C, H', W')."""
        height, width = ((side + (stride - 1)) // stride for side in x.shape[2:])
        rows, columns = ((side + (window_size - 1)) // window_size for side in (height, width))

        y, z = (
            _places(count * window_size, side) for count, side in ((rows, height), (columns, width))
        )
        split = (y * (width + 2)).view(-1, 1, window_size, 1) + z.view(-1, 1, window_size)
        split = split.view(-1).to(x.device) * heads

        y, z = (torch.arange(side) for side in (height, width))
        row = y // window_size * columns * window_size**2 + y % window_size * window_size
        merge = row.view(-1, 1) + (z // window_size * window_size**2 + z % window_size)
        merge = merge.view(-1).to(x.device)
        return cls(height, width, [split + head for head in range(heads)], merge)


def _places(count: int, side: int) -> Tensor:
    """``1, 2, ..., side, 0, 0, ...``: places within a border, and the border for all others.

    By arithmetic: OpenCV limits no integers of 64 bits.
    """
    index = torch.arange(count)
    return (index + 1) * (index < side)


class OnnxWindowAttention(nn.Module):
    """Computes :class:`.FastWindowAttention`.

    Args:
        block: The block; it must not be used afterwards.
        stride: Stride of the feature map, in pixels of the images.

    Attributes:
        grid: That of the next feature map; None computes it from the size.
    """

    def __init__(self, block: FastWindowAttention, stride: int) -> None:
        super().__init__()
        self.window_size, self.stride = block.window_size, stride
        self.heads = nn.ModuleList(map(OnnxAttentionHead, block.heads))
        self.floor, self.proj, self.cascade = block.floor, block.proj, block.cascade
        channels = block.proj.in_channels
        self.border = nn.Conv2d(channels, channels, 1, padding=1, groups=channels, bias=False)
        nn.init.ones_(self.border.weight)
        self.grid: Grid | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        heads, channels = len(self.heads), self.proj.in_channels
        grid = self.grid or Grid.of(x, 1, window_size=self.window_size, heads=heads)
        places = (grid.height + 2) * (grid.width + 2)
        # Flat before it is transposed: OpenVINO converts a layout of four dimensions twice.
        tokens = self.border(x).reshape(-1, channels, places).transpose(1, 2)
        groups = tokens.reshape(-1, places * heads, channels // heads)
        windows = attend(
            self.heads,
            (
                groups.index_select(1, index).reshape(-1, self.window_size**2, channels // heads)
                for index in grid.split
            ),
            cascade=self.cascade,
        )
        tokens = windows.reshape(-1, grid.split[0].shape[0], channels)
        tokens = tokens.index_select(1, grid.merge)
        tokens = torch.maximum(tokens, self.floor)
        tokens = tokens.reshape(-1, grid.height, grid.width, channels)
        return self.proj(tokens.permute(0, 3, 1, 2), x)


class OnnxAttentionHead(nn.Module):
    """Computes :class:`.FastAttentionHead`.

    Args:
        head: The head; it must not be used afterwards.
    """

    def __init__(self, head: FastAttentionHead) -> None:
        super().__init__()
        self.query, self.key, self.value = map(linear_layer, head.qkv.weight.split(head.widths))
        del head.qkv
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """``(n, w * w, C) -> (n, w * w, C)``."""
        return self.head.attend(self.query(x), self.key(x), self.value(x))


def _widen(conv: FastConv, following: FastConv, least_channels: int) -> None:
    """Pads the channels between two convolutions with zeros, in place."""
    missing = max(least_channels - conv.out_channels, 0)
    conv.weight, conv.bias, following.weight = (
        nn.Parameter(pad(weight, (0, 0) * axes + (0, missing)), requires_grad=False)
        for weight, axes in ((conv.weight, 3), (conv.bias, 0), (following.weight, 2))
    )
    conv.out_channels = following.in_channels = conv.out_channels + missing
