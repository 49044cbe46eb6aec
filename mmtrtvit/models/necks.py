"""EfficientViTFPN: a feature pyramid with levels finer than those of the backbone.

From the detectors of "EfficientViT: Memory Efficient Vision Transformer with Cascaded Group
Attention", CVPR 2023, arXiv 2305.07027; official code: microsoft/Cream, EfficientViT/downstream.
It has the official parameter names. Deliberate differences to the official code:

* It works without transposed levels as well, and with any number of them.
* ``start_level`` and ``end_level`` are left to ``out_indices`` of the backbone.
"""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from ..errors import UserError

EXTRA_SOURCES = 'on_input', 'on_lateral', 'on_output'
XAVIER = dict(type='Xavier', layer='Conv2d', distribution='uniform')


@MODELS.register_module()
class EfficientViTFPN(BaseModule):
    """FPN with transposed convolutions for finer levels and strided ones for coarser levels.

    From feature maps of strides s, ..., t it makes ``num_outs`` feature maps, finest first: one of
    half the stride per transposed convolution (s / 2, s / 4, ...), one of each input's stride, and
    one of twice the stride for each that is left (2 * t, ...).

    A transposed feature map has exactly twice the rows and columns of its source. For some images
    that is one more than ``ceil(H / stride)``. Heads that take their sizes from the feature maps,
    as those of MMDetection and MMSegmentation, work with either.

    Args:
        in_channels: Channels of each input, finest first.
        out_channels: Channels of every output.
        num_outs: Number of outputs, transposed ones included.
        num_extra_trans_convs: Number of transposed convolutions, chained from the finest input. The
            published RetinaNet has 1 (strides 8 to 128), its Mask R-CNN 2 (strides 4 to 64).
        add_extra_convs: Input of the strided convolutions for coarser levels: ``'on_input'``, the
            last input, as RetinaNet's; ``'on_lateral'``, the last lateral feature map;
            ``'on_output'``, the last output. False subsamples the last output instead, without
            parameters.
        norm_cfg: Norm after every convolution, e.g. ``dict(type='GN', num_groups=32)``; None as
            published.
        init_cfg: MMEngine initialisation; default: Xavier's, as published.

    Raises:
        UserError: If an argument is not one of the allowed values; the message lists them.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        *,
        num_outs: int = 5,
        num_extra_trans_convs: int = 0,
        add_extra_convs: str | bool = False,
        norm_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg or XAVIER)
        if add_extra_convs and add_extra_convs not in EXTRA_SOURCES:
            raise UserError(
                f'EfficientViTFPN: add_extra_convs={add_extra_convs!r}, expected False or one of '
                f'{", ".join(EXTRA_SOURCES)}'
            )
        self.in_channels = tuple(in_channels)
        self.num_coarser = num_outs - len(self.in_channels) - num_extra_trans_convs
        if num_extra_trans_convs < 0 or self.num_coarser < 0:
            raise UserError(
                f'EfficientViTFPN: num_outs={num_outs!r} must be at least the '
                f'{len(self.in_channels)} inputs plus num_extra_trans_convs='
                f'{num_extra_trans_convs!r}, which is at least 0'
            )
        self.add_extra_convs = add_extra_convs

        def conv(width: int, kernel_size: int, **options) -> ConvModule:
            return ConvModule(
                width, out_channels, kernel_size, norm_cfg=norm_cfg, act_cfg=None, **options
            )

        self.lateral_convs = nn.ModuleList(conv(width, 1) for width in self.in_channels)
        self.fpn_convs = nn.ModuleList(conv(out_channels, 3, padding=1) for _ in self.in_channels)
        for index in range(self.num_coarser if add_extra_convs else 0):
            on_input = index == 0 and add_extra_convs == 'on_input'
            width = self.in_channels[-1] if on_input else out_channels
            self.fpn_convs.append(conv(width, 3, stride=2, padding=1))
        self.extra_trans_convs = nn.ModuleList(
            conv(out_channels, 2, stride=2, conv_cfg=dict(type='deconv'))
            for _ in range(num_extra_trans_convs)
        )
        # The first of these takes the finest level, which the last transposed convolution makes.
        self.extra_fpn_convs = nn.ModuleList(
            conv(out_channels, 3, padding=1) for _ in range(num_extra_trans_convs)
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """``((B, C_i, H_i, W_i), ...) -> ((B, C, H_o, W_o), ...)``, both finest first.

        Raises:
            UserError: If the number or the channels of the inputs are not those of ``in_channels``.
        """
        self._check_widths(inputs)
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, inputs)]
        for index in range(len(laterals) - 1, 0, -1):
            finer = laterals[index - 1]
            laterals[index - 1] = finer + interpolate(laterals[index], size=finer.shape[2:])

        transposed = [laterals[0]]
        for conv in self.extra_trans_convs:
            transposed.insert(0, conv(transposed[0]))
        outputs = [conv(x) for conv, x in zip(self.extra_fpn_convs, transposed)]
        outputs += [conv(x) for conv, x in zip(self.fpn_convs, laterals)]
        outputs += self._coarser(inputs[-1], laterals[-1], outputs[-1])
        return tuple(outputs)

    def _coarser(
        self, last_input: Tensor, last_lateral: Tensor, last_output: Tensor
    ) -> list[Tensor]:
        sources = dict(zip(EXTRA_SOURCES, (last_input, last_lateral, last_output)))
        x = sources.get(str(self.add_extra_convs), last_output)
        maps = []
        for index in range(self.num_coarser):
            if self.add_extra_convs:
                x = self.fpn_convs[len(self.in_channels) + index](x)
            else:
                x = max_pool2d(x, 1, stride=2)
            maps.append(x)
        return maps

    def _check_widths(self, inputs: Sequence[Tensor]) -> None:
        widths = tuple(x.shape[1] for x in inputs)
        if not torch.jit.is_tracing() and widths != self.in_channels:
            raise UserError(
                f'EfficientViTFPN: in_channels={list(self.in_channels)}, but the backbone gives '
                f'{len(widths)} feature maps of {list(widths)} channels. Set neck.in_channels to '
                'backbone.out_channels, or change out_indices or arch of the backbone'
            )
