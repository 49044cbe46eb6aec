"""TRT-ViT: convolutional stages first, Transformers mixed into the last.

"TRT-ViT: TensorRT-oriented Vision Transformer", arXiv 2205.09579, 2022. No code or weights were
published and the table of depths and widths is not available to us, so each choice below is marked:
[P] published, [F] fitted so that the published parameters and FLOPs of C and D come out, [O] ours.
"""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torchvision.ops import StochasticDepth

from ..errors import UserError
from .backbone import Backbone, resolve_arch
from .layers import ConvNorm, init_weights


class BottleNeck(nn.Module):
    """ResNet's residual bottleneck [P]: ``(B, C, H, W) -> (B, C, H, W)``.

    Args:
        channels: Width of input and output, C.
        inner_channels: Width of the 3x3 convolution.
        drop_path: Probability of dropping the residual branch of a sample.
    """

    def __init__(self, channels: int, inner_channels: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            ConvNorm(channels, inner_channels, act=True),
            ConvNorm(inner_channels, inner_channels, kernel_size=3, act=True),
            ConvNorm(inner_channels, channels),
        )
        self.drop_path = StochasticDepth(drop_path, 'row')

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        return (x + self.drop_path(self.branch(x))).relu()


class SelfAttention(nn.Module):
    """Multi-head self-attention over all tokens [P]: ``(B, N, C) -> (B, N, C)``.

    Args:
        channels: Width of a token, C, a multiple of ``head_dim``.
        head_dim: Width of one head.
    """

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, C) -> (B, N, C)``, N tokens of C channels."""
        qkv = self.qkv(x).unflatten(2, (3, -1, self.head_dim))  # (B, N, 3, heads, head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, head_dim)
        x = scaled_dot_product_attention(query, key, value)
        return self.proj(x.transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Pre-norm Transformer block [P] without position embedding: ``(B, C, H, W) -> (B, C, H, W)``.

    Args:
        channels: Width, C, a multiple of ``head_dim``.
        head_dim: Width of one attention head.
        mlp_ratio: Hidden width of the MLP over C.
        drop_path: Probability of dropping a residual branch of a sample.
    """

    def __init__(
        self, channels: int, head_dim: int = 32, *, mlp_ratio: float = 3.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        hidden_channels = int(channels * mlp_ratio)
        self.norm1 = nn.LayerNorm(channels)
        self.attention = SelfAttention(channels, head_dim)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden_channels), nn.GELU(), nn.Linear(hidden_channels, channels)
        )
        self.drop_path = StochasticDepth(drop_path, 'row')

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``; each position is a token."""
        shape = x.shape
        x = x.flatten(2).transpose(1, 2)  # (B, H * W, C)
        x = x + self.drop_path(self.attention(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.transpose(1, 2).reshape(shape)  # (B, C, H, W)


class MixBlock(nn.Module):
    """The layers that MixBlocks A, B and C share.

    A Transformer of d = R * C channels and a BottleNeck of q = C - d channels, concatenated and
    projected [P; the projections are F].

    Args:
        channels: Width of input and output, C.
        mix_ratio: Share R of the channels that the Transformer gets.
        head_dim: Width of one attention head; d is rounded to a multiple of it.
        mlp_ratio: Hidden width of the Transformer's MLP over d.
        drop_path: Probability of dropping a residual branch of a sample.

    Raises:
        UserError: If ``mix_ratio`` leaves no channel for one of the two.
    """

    def __init__(
        self, channels: int, mix_ratio: float, *, head_dim: int, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        global_channels = round(mix_ratio * channels / head_dim) * head_dim
        local_channels = channels - global_channels
        if not 0 < global_channels < channels:
            raise UserError(
                f'mix_ratio={mix_ratio!r} gives {global_channels} of {channels} channels to the '
                f'Transformer: it and the BottleNeck need at least head_dim={head_dim} and 1'
            )
        first, second = self.path(global_channels, local_channels)
        self.reduce = ConvNorm(channels, first)
        self.bridge = nn.Identity() if first == second else ConvNorm(first, second)
        self.transformer = Transformer(
            global_channels, head_dim, mlp_ratio=mlp_ratio, drop_path=drop_path
        )
        self.bottleneck = BottleNeck(local_channels, local_channels // 2 or 1, drop_path)
        self.merge = ConvNorm(channels, channels)

    @staticmethod
    def path(global_channels: int, local_channels: int) -> tuple[int, int]:
        """Returns the channels of the projected input and of the second part's input."""
        return global_channels, local_channels


class MixBlockA(MixBlock):
    """Transformer and BottleNeck in parallel [P; both on the same projected input is F]."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        x = self.reduce(x)
        parts = self.transformer(x), self.bottleneck(self.bridge(x))
        return self.merge(torch.cat(parts, dim=1))


class MixBlockB(MixBlock):
    """BottleNeck first, Transformer on its output [P; both outputs in the concatenation is F]."""

    @staticmethod
    def path(global_channels: int, local_channels: int) -> tuple[int, int]:
        """As in the base class; here the BottleNeck comes first."""
        return local_channels, global_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        local = self.bottleneck(self.reduce(x))
        return self.merge(torch.cat((self.transformer(self.bridge(local)), local), dim=1))


class MixBlockC(MixBlock):
    """Transformer first, BottleNeck on its output: the published choice [P]."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        context = self.transformer(self.reduce(x))
        return self.merge(torch.cat((context, self.bottleneck(self.bridge(context))), dim=1))


MIX_BLOCKS = {'M': MixBlockC, 'MA': MixBlockA, 'MB': MixBlockB, 'MC': MixBlockC}


@MODELS.register_module()
class TRTViT(Backbone):
    """TRT-ViT (arXiv 2205.09579): four stages at strides 4, 8, 16, 32.

    ======  =========================================================  ==============
    part    made of                                                    stride
    ======  =========================================================  ==============
    stem    four 3x3 convolutions, 64-32-64-64 channels [F]            4
    stage   2x2 average pooling (not in stage 1), 1x1 convolution to   4, 8, 16, 32
            the stage's width [F], ``depths[i]`` blocks
    ======  =========================================================  ==============

    Args:
        arch: 'a', 'b', 'c', 'd', or ``dict(depths=..., channels=...)`` with four numbers each.
        pattern: Kind of block of each stage: ``C`` BottleNeck, ``T`` Transformer, ``M`` or ``MC``
            MixBlockC, ``MA`` MixBlockA, ``MB`` MixBlockB. Published: 'C-C-C-M' [P].
        mix_ratio: Share R of a MixBlock's channels that its Transformer gets [P].
        head_dim: Width of one attention head [P].
        mlp_ratio: Hidden width of an MLP over its width [P].
        drop_path_rate: Drop path of the last block; it grows linearly from 0 at the first.
        out_indices: Stages whose outputs are returned, finest first.
        frozen_stages: -1 nothing, 0 the stem, k the stem and k stages.
        norm_eval: Keep BatchNorm in eval mode while training.
        with_cp: Trade time for memory by recomputing blocks in the backward pass.
        init_cfg: MMEngine initialisation.

    Raises:
        UserError: If an argument is not one of the allowed values; the message lists them.
    """

    arch_settings = {
        'a': dict(depths=(2, 2, 3, 3), channels=(256, 512, 1024, 1024)),  # [O]
        'b': dict(depths=(2, 3, 4, 4), channels=(256, 512, 1024, 1280)),  # [O]
        'c': dict(depths=(2, 3, 5, 5), channels=(256, 512, 1024, 1536)),  # [F]
        'd': dict(depths=(3, 5, 14, 4), channels=(256, 512, 1024, 2048)),  # [F]
    }

    def __init__(
        self,
        arch: str | dict = 'b',
        pattern: str = 'C-C-C-M',
        *,
        mix_ratio: float = 0.5,
        head_dim: int = 32,
        mlp_ratio: float = 3.0,
        drop_path_rate: float = 0.0,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        settings = resolve_arch(arch, self.arch_settings, 'TRTViT')
        depths, channels = settings['depths'], settings['channels']
        kinds = pattern.upper().split('-')
        if not len(kinds) == len(depths) == len(channels) == 4:
            raise UserError(
                f'TRTViT has four stages: got depths={depths!r}, channels={channels!r}, '
                f'pattern={pattern!r}'
            )

        def build_block(kind: str, width: int, drop_path: float) -> nn.Module:
            if kind == 'C':
                return BottleNeck(width, width // 4, drop_path)
            if kind == 'T':
                if width % head_dim:
                    raise UserError(
                        f'a Transformer stage has {width} channels, which is not a multiple of '
                        f'head_dim={head_dim}'
                    )
                return Transformer(width, head_dim, mlp_ratio=mlp_ratio, drop_path=drop_path)
            if kind in MIX_BLOCKS:
                return MIX_BLOCKS[kind](
                    width, mix_ratio, head_dim=head_dim, mlp_ratio=mlp_ratio, drop_path=drop_path
                )
            raise UserError(
                f'pattern={pattern!r}: block {kind!r} is unknown, expected C, T, '
                f'{", ".join(MIX_BLOCKS)}'
            )

        stem = nn.Sequential(
            ConvNorm(3, 64, kernel_size=3, stride=2, act=True),
            ConvNorm(64, 32, kernel_size=3, act=True),
            ConvNorm(32, 64, kernel_size=3, act=True),
            ConvNorm(64, 64, kernel_size=3, stride=2, act=True),
        )
        last = max(sum(depths) - 1, 1)
        drop_paths = (drop_path_rate * index / last for index in range(last + 1))
        stages = []
        width = 64
        for index, (kind, depth, next_width) in enumerate(zip(kinds, depths, channels)):
            blocks = [build_block(kind, next_width, next(drop_paths)) for _ in range(depth)]
            stages.append(nn.Sequential(*_patch_embedding(index, width, next_width), *blocks))
            width = next_width
        super().__init__(
            stem,
            stages,
            channels=channels,
            strides=(4, 8, 16, 32),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        self.apply(init_weights)


def _patch_embedding(stage: int, in_channels: int, out_channels: int) -> list[nn.Module]:
    """Leads into a stage [F]: halves the feature map after the first, and fits the channels."""
    if stage > 0:
        pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
        return [pool, ConvNorm(in_channels, out_channels)]
    if in_channels != out_channels:
        return [ConvNorm(in_channels, out_channels)]
    return []
