"""EfficientViT M0-M5: sandwich blocks with cascaded group attention in windows.

"EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention", CVPR 2023,
arXiv 2305.07027; official code: microsoft/Cream, EfficientViT. Not MIT Han Lab's EfficientViT
(B0-B3, L0-L3). Deliberate differences to the official detection code:

* M0 has the query kernels 5, 5, 5, 5 of its released weights, not 7, 5, 3, 3.
* Every feature map is padded to whole windows, also one smaller than a window, so any size works.
* The attention bias is gathered in each forward pass, so it is never stale.
* What the paper's ablations leave out are options, and on by default. Which network without the
  sandwich or without reallocated widths the paper measured is not known to us: see ``sandwich`` and
  ``key_channels`` for ours.
* The depthwise residuals around PatchMerging start as the identity too; convolutions start with
  Kaiming's initialisation.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from ..errors import UserError
from .backbone import Backbone, resolve_arch
from .layers import ConvNorm, init_weights
from .windows import merge_windows, relative_bias_index, split_windows

KEY_CHANNELS = 16


class Residual(nn.Module):
    """Adds a branch to its input: ``(B, C, H, W) -> (B, C, H, W)``.

    Args:
        branch: Module that keeps the shape.
        inplace: Write the sum over the branch's output, which must own its memory and must not be
            needed by the branch's backward pass.
    """

    def __init__(self, branch: nn.Module, inplace: bool = False) -> None:
        super().__init__()
        self.branch = branch
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        return self.branch(x).add_(x) if self.inplace else x + self.branch(x)


class LocalMixing(nn.Sequential):
    """Depthwise 3x3 token interaction, then an FFN, both residual (section 3.1).

    Its shapes are ``(B, C, H, W) -> (B, C, H, W)``.

    Args:
        channels: Width, C.
        ffn_ratio: Hidden width of the FFN over C.
        interaction: Whether the token interaction comes before the FFN.
    """

    def __init__(self, channels: int, *, ffn_ratio: int = 2, interaction: bool = True) -> None:
        super().__init__()
        hidden_channels = ffn_ratio * channels
        if interaction:
            self.interaction = Residual(
                ConvNorm(channels, channels, kernel_size=3, groups=channels, norm_weight=0.0),
                inplace=True,
            )
        self.ffn = Residual(
            nn.Sequential(
                ConvNorm(channels, hidden_channels, act=True),
                ConvNorm(hidden_channels, channels, norm_weight=0.0),
            ),
            inplace=True,
        )


class AttentionHead(nn.Module):
    """One head over the tokens of a window (section 3.1): ``(B, C, w, w) -> (B, C, w, w)``.

    Args:
        channels: Width of the head's input, value and output, C.
        kernel_size: Side of the depthwise kernel on the query.
        key_channels: Width of query and key, K.
    """

    def __init__(self, channels: int, kernel_size: int, key_channels: int = KEY_CHANNELS) -> None:
        super().__init__()
        self.widths = key_channels, key_channels, channels
        self.qkv = ConvNorm(channels, sum(self.widths))
        self.query_conv = ConvNorm(
            key_channels, key_channels, kernel_size=kernel_size, groups=key_channels
        )

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """``x``: (B, C, w, w); ``bias``, added to the attention's logits: (w * w, w * w)."""
        attention, value = self.attend(x, bias)
        return _map(attention @ value, x)

    def attend(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the attention map, (B, w * w, w * w), and the values, (B, w * w, C)."""
        query, key, value = _tokens(self.qkv(x)).split(self.widths, dim=2)  # (B, w * w, K or C)
        query = _tokens(self.query_conv(_map(query, x))) * self.widths[0] ** -0.5
        return (query @ key.transpose(1, 2) + bias).softmax(dim=-1), value


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # (B, C, w, w) -> (B, w * w, C)


def _map(tokens: Tensor, x: Tensor) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, x.shape[2:])  # as high and wide as x


class CascadedGroupAttention(nn.Module):
    """Cascaded group attention within a window (section 3.1).

    Each head takes one group of channels plus the output of the head before.

    Args:
        channels: Width, C.
        kernels: Side of the depthwise kernel on each head's query; one head per entry.
        window_size: Side of a window, w.
        cascade: Whether the output of the head before is added.
        key_channels: Width of query and key; None for that of the value.
    """

    bias_index: Tensor

    def __init__(
        self,
        channels: int,
        kernels: Sequence[int],
        window_size: int,
        *,
        cascade: bool = True,
        key_channels: int | None = KEY_CHANNELS,
    ) -> None:
        super().__init__()
        self.cascade = cascade
        head_channels = channels // len(kernels)
        self.heads = nn.ModuleList(
            AttentionHead(head_channels, kernel_size, key_channels or head_channels)
            for kernel_size in kernels
        )
        self.bias_table = nn.Parameter(torch.zeros(len(kernels), window_size**2))
        self.register_buffer('bias_index', relative_bias_index(window_size), persistent=False)
        self.proj = ConvNorm(channels, channels, norm_weight=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, w, w) -> (B, C, w, w)``."""
        groups = x.chunk(len(self.heads), dim=1)
        biases = self.bias_table[:, self.bias_index]  # (heads, w * w, w * w)
        outputs: list[Tensor] = []
        for head, group, bias in zip(self.heads, groups, biases.unbind()):
            cascaded = self.cascade and outputs
            outputs.append(head(group + outputs[-1] if cascaded else group, bias))
        return self.proj(torch.cat(outputs, dim=1).relu_())


class WindowAttention(nn.Module):
    """Cascaded group attention within windows: ``(B, C, H, W) -> (B, C, H, W)``.

    There is no mask: the zeros that pad the last windows are tokens like any other, as when the
    official weights were trained.

    Args:
        channels: Width, C.
        kernels: Side of the depthwise kernel on each head's query.
        window_size: Side of a window.
        options: As in :class:`CascadedGroupAttention`.
    """

    def __init__(
        self, channels: int, kernels: Sequence[int], window_size: int, **options: Any
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.attention = CascadedGroupAttention(channels, kernels, window_size, **options)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        height, width = x.shape[2:]
        return merge_windows(self.attention(split_windows(x, self.window_size)), height, width)


class SandwichBlock(nn.Sequential):
    """One attention between two local mixings (section 3.1): ``(B, C, H, W) -> (B, C, H, W)``.

    Args:
        channels: Width, C.
        kernels: Side of the depthwise kernel on each head's query.
        window_size: Side of a window.
        sandwich: False puts one more attention before the first local mixing, so that each FFN
            follows one.
        local_mixing: Makes a :class:`LocalMixing` of a width.
        attention: Makes a :class:`WindowAttention` of the first three arguments.
    """

    def __init__(
        self,
        channels: int,
        kernels: Sequence[int],
        window_size: int,
        *,
        sandwich: bool = True,
        local_mixing: Callable[[int], nn.Module] = LocalMixing,
        attention: Callable[[int, Sequence[int], int], nn.Module] = WindowAttention,
    ) -> None:
        super().__init__()
        if not sandwich:
            self.first_attention = Residual(attention(channels, kernels, window_size))
        self.before = local_mixing(channels)
        self.attention = Residual(attention(channels, kernels, window_size))
        self.after = local_mixing(channels)


class PatchMerging(nn.Sequential):
    """Inverted bottleneck with squeeze-excite that halves the feature map (section 3.2).

    Its shapes are ``(B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))``.

    Args:
        in_channels: Width of the input, C.
        out_channels: Width of the output, C'.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        hidden_channels = 4 * in_channels
        super().__init__()
        self.expand = ConvNorm(in_channels, hidden_channels, act=True)
        self.reduce = ConvNorm(
            hidden_channels,
            hidden_channels,
            kernel_size=3,
            stride=2,
            groups=hidden_channels,
            act=True,
        )
        self.squeeze_excite = SqueezeExcitation(hidden_channels, hidden_channels // 4)
        self.project = ConvNorm(hidden_channels, out_channels)


@MODELS.register_module()
class EfficientViT(Backbone):
    """EfficientViT (arXiv 2305.07027, section 3.2): three stages at strides 16, 32, 64.

    ======  ==========================================================  ==========
    part    made of                                                     stride
    ======  ==========================================================  ==========
    stem    four 3x3 convolutions, C/8, C/4, C/2, C channels            16
    stage   local mixing, patch merging, local mixing (not in stage     16, 32, 64
            1), ``depths[i]`` sandwich blocks of ``channels[i]``
    ======  ==========================================================  ==========

    Args:
        arch: 'm0' to 'm5', or a dict with the keys ``channels``, ``depths``, ``heads`` (three
            numbers each) and ``kernels`` (one number per head, for the stage with the most heads).
        window_size: Side of the attention windows, for all stages or for each. The published
            detectors use 7, the published classifiers 7, 7, 4.
        cascade: Whether a head's input has the output of the head before added.
        sandwich: Whether there is one attention for two FFNs; otherwise one for each.
        interaction: Whether a depthwise 3x3 convolution comes before each FFN. Those on the query
            are there in any case.
        key_channels: Width of query and key in each head; None for that of the value.
        ffn_ratio: Hidden width of an FFN over its width.
        out_indices: Stages whose outputs are returned, finest first.
        frozen_stages: -1 nothing, 0 the stem, k the stem and k stages.
        norm_eval: Keep BatchNorm in eval mode while training.
        with_cp: Trade time for memory by recomputing blocks in the backward pass.
        init_cfg: MMEngine initialisation.

    Raises:
        UserError: If an argument is not one of the allowed values; the message lists them.
    """

    arch_settings = {
        'm0': dict(
            channels=(64, 128, 192), depths=(1, 2, 3), heads=(4, 4, 4), kernels=(5, 5, 5, 5)
        ),
        'm1': dict(
            channels=(128, 144, 192), depths=(1, 2, 3), heads=(2, 3, 3), kernels=(7, 5, 3, 3)
        ),
        'm2': dict(
            channels=(128, 192, 224), depths=(1, 2, 3), heads=(4, 3, 2), kernels=(7, 5, 3, 3)
        ),
        'm3': dict(
            channels=(128, 240, 320), depths=(1, 2, 3), heads=(4, 3, 4), kernels=(5, 5, 5, 5)
        ),
        'm4': dict(
            channels=(128, 256, 384), depths=(1, 2, 3), heads=(4, 4, 4), kernels=(7, 5, 3, 3)
        ),
        'm5': dict(
            channels=(192, 288, 384), depths=(1, 3, 4), heads=(3, 3, 4), kernels=(7, 5, 3, 3)
        ),
    }

    def __init__(
        self,
        arch: str | dict = 'm4',
        window_size: int | Sequence[int] = 7,
        *,
        cascade: bool = True,
        sandwich: bool = True,
        interaction: bool = True,
        key_channels: int | None = KEY_CHANNELS,
        ffn_ratio: int = 2,
        out_indices: Sequence[int] = (0, 1, 2),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        settings = resolve_arch(arch, self.arch_settings, 'EfficientViT')
        channels, depths, heads = (settings[key] for key in ('channels', 'depths', 'heads'))
        kernels = settings['kernels']
        _check_widths(channels, depths, heads, kernels)
        _check_flags(cascade=cascade, sandwich=sandwich, interaction=interaction)
        _check_counts(ffn_ratio=ffn_ratio)
        if key_channels is not None:
            _check_counts(key_channels=key_channels)
        window_sizes = _window_sizes(window_size)

        local_mixing = partial(LocalMixing, ffn_ratio=ffn_ratio, interaction=interaction)
        attention = partial(WindowAttention, cascade=cascade, key_channels=key_channels)

        width = channels[0]
        stem = nn.Sequential(
            ConvNorm(3, width // 8, kernel_size=3, stride=2, act=True),
            ConvNorm(width // 8, width // 4, kernel_size=3, stride=2, act=True),
            ConvNorm(width // 4, width // 2, kernel_size=3, stride=2, act=True),
            ConvNorm(width // 2, width, kernel_size=3, stride=2),
        )
        stages = []
        for index, (next_width, depth) in enumerate(zip(channels, depths)):
            lead = (
                []
                if index == 0
                else [
                    local_mixing(width),
                    PatchMerging(width, next_width),
                    local_mixing(next_width),
                ]
            )
            blocks = [
                SandwichBlock(
                    next_width,
                    kernels[: heads[index]],
                    window_sizes[index],
                    sandwich=sandwich,
                    local_mixing=local_mixing,
                    attention=attention,
                )
                for _ in range(depth)
            ]
            stages.append(nn.Sequential(*lead, *blocks))
            width = next_width
        super().__init__(
            stem,
            stages,
            channels=channels,
            strides=(16, 32, 64),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        self.apply(init_weights)


def _check_widths(
    channels: Sequence[int], depths: Sequence[int], heads: Sequence[int], kernels: Sequence[int]
) -> None:
    if not len(channels) == len(depths) == len(heads) == 3:
        raise UserError(
            f'EfficientViT has three stages: got channels={channels!r}, depths={depths!r}, '
            f'heads={heads!r}'
        )
    if len(kernels) < max(heads):
        raise UserError(f'kernels={kernels!r}: heads={heads!r} need {max(heads)} of them')
    for width, num_heads in zip(channels, heads):
        if num_heads < 1 or width % num_heads:
            raise UserError(
                f'channels={channels!r} cannot be divided among heads={heads!r}: {width} is not '
                f'a multiple of {num_heads}'
            )
    if channels[0] % 8:
        raise UserError(f'channels={channels!r}: the stem needs a multiple of 8 in the first stage')


def _check_flags(**flags: bool) -> None:
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise UserError(f'EfficientViT: {name}={value!r}: expected True or False')


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if type(value) is not int or value < 1:
            raise UserError(f'EfficientViT: {name}={value!r}: expected a whole number above 0')


def _window_sizes(window_size: int | Sequence[int]) -> tuple[int, ...]:
    sizes = (window_size,) * 3 if isinstance(window_size, int) else tuple(window_size)
    if len(sizes) != 3 or min(sizes) < 1:
        raise UserError(
            f'window_size={window_size!r}: expected a number of at least 1, or three of them'
        )
    return sizes
