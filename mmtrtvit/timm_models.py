"""TRT-ViT as models of timm: ``import mmtrtvit.timm_models`` registers ``trt_vit_a`` to ``_d``.

timm 1.0 has no entry points, so a program that wants these names imports this module first. The
weights have the names that they have in :class:`~.models.TRTViT`; those of the classifier begin
with ``head.``. EfficientViT is in timm already, as ``efficientvit_m0`` to ``efficientvit_m5``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from .errors import UserError
from .models import TRTViT
from .models.backbone import recomputed
from .models.layers import ConvNorm, init_weights, replace_modules


class TimmTRTViT(nn.Module):
    """TRT-ViT with a classifier and with what timm asks of a model.

    Args:
        arch: As :class:`~.models.TRTViT` takes it.
        num_classes: Classes of the classifier; 0 leaves it out.
        in_chans: Channels of the images.
        global_pool: How the last feature map is pooled: ``'avg'``, ``'max'``, ``'avgmax'``,
            ``'catavgmax'``, or ``''`` for not at all, without a classifier.
        drop_rate: Dropout in front of the classifier.
        drop_path_rate: As :class:`~.models.TRTViT` takes it.
        device: Where the weights are made.
        dtype: Their type.
        options: More arguments of :class:`~.models.TRTViT`: ``pattern``, ``mix_ratio``,
            ``head_dim``, ``mlp_ratio``.

    Attributes:
        feature_info: Channels, stride and name of the module of each stage.
        num_features: Channels of the last feature map.
        head_hidden_size: Numbers that the classifier gets.
    """

    def __init__(
        self,
        arch: str | dict = 'b',
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        with torch.device(device or torch.get_default_device()):
            backbone = TRTViT(arch, drop_path_rate=drop_path_rate, **options)
            self.stem = backbone.stem
            if in_chans != 3:
                width = self.stem[0].conv.out_channels
                self.stem[0] = ConvNorm(in_chans, width, kernel_size=3, stride=2, act=True)
                self.stem[0].apply(init_weights)
            self.stages = nn.Sequential(*backbone.stages)
            # Ours has two ways, which neither TorchScript nor FX can follow.
            replace_modules(self, nn.BatchNorm2d, _plain_norm)
            self.head = ClassifierHead(
                backbone.out_channels[-1], num_classes, global_pool, drop_rate
            )
        self.to(dtype=dtype)
        self.num_classes, self.in_chans = num_classes, in_chans
        self.num_features = backbone.out_channels[-1]
        self.head_hidden_size = self.head.num_features
        self.grad_checkpointing = False
        self.feature_info = [
            dict(num_chs=channels, reduction=stride, module=f'stages.{index}')
            for index, (channels, stride) in enumerate(
                zip(backbone.out_channels, backbone.out_strides)
            )
        ]

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Returns the names of weights without decay, beyond the biases and norms."""
        return set()

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Returns patterns that put the weights into groups, for a decay of rates by layer."""
        return dict(stem=r'^stem', blocks=r'^stages\.(\d+)' if coarse else r'^stages\.(\d+)\.(\d+)')

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recomputes each block in the backward pass, or stops doing so."""
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """Returns the last layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Makes a new last layer, or none for 0 classes, and another pooling if one is given."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)
        self.head_hidden_size = self.head.num_features

    def forward_features(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, num_features, ceil(H / 32), ceil(W / 32))``."""
        x = self.stem(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            for stage in self.stages:
                x = _recomputed_stage(stage, x)
            return x
        return self.stages(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last feature map -> logits, ``(B, num_classes)``, or what the classifier gets."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, num_classes)``."""
        return self.forward_head(self.forward_features(x))

    @torch.jit.ignore
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Returns the last feature map and those of stages, ``(B, C_i, H_i, W_i)`` each.

        Args:
            x: Images, ``(B, C, H, W)``.
            indices: Which stages; a number means that many of the last, None all.
            norm: Ignored: each stage's output has been normalised.
            stop_early: Stop after the last of these stages.
            output_fmt: ``'NCHW'``.
            intermediates_only: Return the feature maps of the stages alone.
        """
        if output_fmt != 'NCHW':
            raise UserError(f'output_fmt={output_fmt!r}: TRT-ViT has feature maps, NCHW')
        taken, last = feature_take_indices(len(self.stages), indices)
        outputs = []
        x = self.stem(x)
        for index, stage in enumerate(self.stages):
            if stop_early and index > last:
                break
            x = _recomputed_stage(stage, x) if self.grad_checkpointing else stage(x)
            if index in taken:
                outputs.append(x)
        return outputs if intermediates_only else (x, outputs)

    @torch.jit.ignore
    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Removes what the given stages do not need, and returns their numbers."""
        taken, last = feature_take_indices(len(self.stages), indices)
        shortened = last < len(self.stages) - 1
        self.stages = self.stages[: last + 1]
        if shortened:
            self.num_features = self.feature_info[last]['num_chs']
        if prune_head or shortened:
            self.num_classes = 0
            self.head.reset(0, '', in_features=self.num_features)
            self.head_hidden_size = self.num_features
        return taken


def _recomputed_stage(stage: nn.Sequential, x: Tensor) -> Tensor:
    for block in stage:
        x = recomputed(block, x) if x.requires_grad else block(x)
    return x


def _plain_norm(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    plain.load_state_dict(norm.state_dict())
    return plain


default_cfgs = generate_default_cfgs(
    {
        f'trt_vit_{arch}': dict(
            url='',  # nobody has published weights
            num_classes=1000,
            input_size=(3, 224, 224),
            min_input_size=(3, 32, 32),
            pool_size=(7, 7),
            crop_pct=0.95,
            interpolation='bicubic',
            mean=IMAGENET_DEFAULT_MEAN,
            std=IMAGENET_DEFAULT_STD,
            first_conv='stem.0.conv',
            classifier='head.fc',
            license='apache-2.0',
            paper_ids='arXiv:2205.09579',
            paper_name='TRT-ViT: TensorRT-oriented Vision Transformer',
        )
        for arch in TRTViT.arch_settings
    }
)


def _create(name: str, pretrained: bool, **options: Any) -> nn.Module:
    options.setdefault('arch', name[-1])
    return build_model_with_cfg(
        TimmTRTViT,
        name,
        pretrained,
        feature_cfg=dict(out_indices=(0, 1, 2, 3), flatten_sequential=True),
        **options,
    )


@register_model
def trt_vit_a(pretrained: bool = False, **options: Any) -> nn.Module:
    """TRT-ViT-A, 22.05M parameters."""
    return _create('trt_vit_a', pretrained, **options)


@register_model
def trt_vit_b(pretrained: bool = False, **options: Any) -> nn.Module:
    """TRT-ViT-B, 40.39M parameters."""
    return _create('trt_vit_b', pretrained, **options)


@register_model
def trt_vit_c(pretrained: bool = False, **options: Any) -> nn.Module:
    """TRT-ViT-C, 67.29M parameters."""
    return _create('trt_vit_c', pretrained, **options)


@register_model
def trt_vit_d(pretrained: bool = False, **options: Any) -> nn.Module:
    """TRT-ViT-D, 102.98M parameters."""
    return _create('trt_vit_d', pretrained, **options)
