"""The base class of both backbones: what MMDetection and MMSegmentation expect of one."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..errors import UserError
from ..weights.download import Unavailable
from ..weights.pretrained import adapt_weights

MIN_SIZE = 32
FROM_SCRATCH = (
    '\nOr start without weights: --cfg-options model.backbone.init_cfg=None '
    'model.backbone.norm_eval=False model.backbone.frozen_stages=-1'
)
NO_STATISTICS = (
    'norm_eval=True without init_cfg: BatchNorm keeps the statistics that it starts with. Unless '
    'load_from brings weights, set model.backbone.norm_eval=False.'
)


class Backbone(BaseModule):
    """A stem and a sequence of stages that yields a pyramid of feature maps.

    A family (:class:`TRTViT`, :class:`EfficientViT`) fills ``stem`` and ``stages`` and records the
    channels and the stride of every stage; choosing outputs, freezing and checkpointing happen
    here.

    Args:
        stem: Module that takes the image, ``(B, 3, H, W)``.
        stages: One ``nn.Sequential`` of blocks per stage, each fed with the output of the last.
        channels: Channels of each stage's output, by the number of the stage.
        strides: Stride of each stage's output, in pixels of the image.
        out_indices: Stages whose outputs are returned, finest first, each in ``[0, stages)``.
        frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the first k stages. Frozen
            parts need no gradient and stay in eval mode, their statistics and drop path included.
        norm_eval: Keep every BatchNorm in eval mode while training. Use it with pre-trained
            weights and small batches; never from scratch.
        with_cp: Recompute each block in the backward pass instead of keeping its activations:
            less memory, more time, the same numbers.
        init_cfg: MMEngine initialisation, e.g. ``dict(type='Pretrained', checkpoint=...)``.

    Attributes:
        out_channels: Number of channels of each returned feature map.
        out_strides: Stride of each returned feature map, in pixels of the image.

    Raises:
        UserError: If ``out_indices`` or ``frozen_stages`` is out of range.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Sequential],
        *,
        channels: Sequence[int] | Mapping[int, int],
        strides: Sequence[int] | Mapping[int, int],
        out_indices: Sequence[int],
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_indices = _checked_out_indices(out_indices, len(stages))
        if frozen_stages not in range(-1, len(stages) + 1):
            raise UserError(
                f'frozen_stages={frozen_stages!r}: expected -1 (nothing), 0 (the stem) or up to '
                f'{len(stages)} (the stem and all stages)'
            )
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.out_channels = tuple(channels[i] for i in self.out_indices)
        self.out_strides = tuple(strides[i] for i in self.out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self._initialising = False
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``(B, 3, H, W) -> ((B, C_i, ceil(H / stride_i), ceil(W / stride_i)), ...)``.

        Raises:
            UserError: If H or W is below 32 pixels.
        """
        _check_size(x)
        x = self.stem(x)
        outputs = []
        for index, stage in enumerate(self.stages[: self.out_indices[-1] + 1]):
            for block in stage:
                x = recomputed(block, x) if self.with_cp and x.requires_grad else block(x)
            if index in self.out_indices:
                outputs.append(x)
        return tuple(outputs)

    def init_weights(self) -> None:
        """Initialises the backbone as ``init_cfg`` says.

        Raises:
            UserError: If pre-trained weights are missing or do not fit; MMEngine alone only logs
                the latter.
        """
        self._initialising = True
        if self.norm_eval and not self.init_cfg:
            print_log(NO_STATISTICS, 'current', logging.WARNING)
        try:
            super().init_weights()
        except (UserError, OSError) as error:
            advice = FROM_SCRATCH if isinstance(error, Unavailable) else ''
            raise UserError(f'init_cfg={self.init_cfg}: {error}{advice}') from error
        finally:
            self._initialising = False

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        adapt_weights(self, state_dict, prefix=prefix, initialising=self._initialising)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def train(self, mode: bool = True) -> 'Backbone':
        """Sets the mode; frozen parts, and BatchNorm with ``norm_eval``, stay in eval mode."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in (self.stem, *self.stages[: self.frozen_stages]):
            module.eval().requires_grad_(False)


def resolve_arch(arch: str | Mapping, table: Mapping[str, Mapping], family: str) -> dict:
    """Returns the settings of a variant.

    Args:
        arch: A name of ``table``, in either case, or a mapping with the same keys as its rows.
        table: Settings by name.
        family: Name of the backbone, for the message.

    Raises:
        UserError: If the name is not in the table, or a mapping has other keys than its rows.
    """
    keys = next(iter(table.values())).keys()
    if isinstance(arch, Mapping):
        if arch.keys() != keys:
            raise UserError(
                f'{family}: arch={dict(arch)!r} has the keys {sorted(arch)}, expected exactly '
                f'{sorted(keys)}'
            )
        return dict(arch)
    if str(arch).lower() not in table:
        raise UserError(
            f'{family}: arch={arch!r} is unknown, expected one of {", ".join(table)} or a dict '
            f'with the keys {sorted(keys)}'
        )
    return dict(table[arch.lower()])


def _checked_out_indices(out_indices: Sequence[int], num_stages: int) -> tuple[int, ...]:
    indices = tuple(out_indices)
    if (
        not indices
        or list(indices) != sorted(set(indices))
        or not set(indices) <= set(range(num_stages))
    ):
        raise UserError(
            f'out_indices={out_indices!r}: expected increasing stage numbers from 0 to '
            f'{num_stages - 1}'
        )
    return indices


def _check_size(x: Tensor) -> None:
    height, width = x.shape[-2:]
    if not torch.jit.is_tracing() and (height < MIN_SIZE or width < MIN_SIZE):
        raise UserError(
            f'the image is {height} x {width} (H x W): expected at least {MIN_SIZE} x {MIN_SIZE}'
        )


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """Runs a block that is recomputed in the backward pass; BatchNorm's statistics move once."""
    return checkpoint(
        block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(block))
    )


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keeps the second forward pass of a checkpoint from updating BatchNorm statistics again.

    Each BatchNorm still gets its statistics, with momentum 0: a checkpoint must save the same
    tensors in both passes.
    """
    kept = [
        (module, module.momentum, module.num_batches_tracked)
        for module in block.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    for norm, _, batches in kept:
        norm.momentum, norm.num_batches_tracked = 0.0, batches.clone()
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches
