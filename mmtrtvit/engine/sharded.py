"""ShardedStrategy: parameters sharded over GPUs (FSDP), for MMEngine's FlexibleRunner."""

from pathlib import Path
from typing import Any

from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.optim import BaseOptimWrapper
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import nn
from torch.distributed._shard.metadata import ShardMetadata
from torch.distributed._shard.sharded_tensor import (
    Shard,
    ShardedTensor,
    ShardedTensorMetadata,
    TensorProperties,
)
from torch.distributed._shard.sharded_tensor.metadata import MEM_FORMAT_ENCODING
from torch.distributed._shard.sharding_spec import ChunkShardingSpec
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.remote_device import _remote_device
from torch.nn.utils import clip_grad_norm_

from ..files import remove_leftovers, whole_file
from ..models.efficientvit import PatchMerging, SandwichBlock
from ..models.trt_vit import BottleNeck, MixBlock, Transformer
from ..weights import safe
from . import distributed

# What the files of a sharded training hold beside plain tensors.
SHARD_CLASSES = (
    ChunkShardingSpec,
    MEM_FORMAT_ENCODING,
    Shard,
    ShardMetadata,
    ShardedTensor,
    ShardedTensorMetadata,
    TensorProperties,
    _remote_device,
)
safe.allow(SHARD_CLASSES, inner=[ShardedTensor.ProcessGroupState])

BLOCKS = (BottleNeck, MixBlock, Transformer, PatchMerging, SandwichBlock)


@FUNCTIONS.register_module()
def wrap_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """An ``auto_wrap_policy``: each block of our backbones is a unit, and all the rest is one.

    A head cannot be a unit: a detector calls its ``loss`` and ``predict``, and FSDP gathers the
    parameters of a unit for ``forward`` alone.
    """
    return recurse or isinstance(module, BLOCKS)


@STRATEGIES.register_module()
class ShardedStrategy(FSDPStrategy):
    """MMEngine's FSDP, with ordinary checkpoints and for processes on CPUs, too.

    MMEngine's own cannot resume with PyTorch 2.1 or later, clips each process's part of the
    gradients by the norm of that part alone, and leaves BatchNorm unsynchronised.

    Args:
        model_wrapper: Arguments of ``MMFullyShardedDataParallel``; each block of our backbones is a
            unit of FSDP unless ``auto_wrap_policy`` is given.
        state_dict_cfg: ``'full'`` writes the checkpoints of an ordinary training, ``'local'`` a
            folder with a file per process.
        sync_bn: Kind of SyncBatchNorm that BatchNorm becomes, 'torch' or 'mmcv', or None.
        kwargs: Arguments of MMEngine's ``FSDPStrategy``.
    """

    def __init__(
        self,
        *,
        model_wrapper: dict | None = None,
        state_dict_cfg: str | dict = 'full',
        sync_bn: str | None = 'torch',
        **kwargs: Any,
    ) -> None:
        device = dict(device_id='cpu') if get_device() == 'cpu' else {}
        wrapper = dict(auto_wrap_policy='wrap_blocks', **device, **(model_wrapper or {}))
        super().__init__(
            model_wrapper=wrapper, state_dict_cfg=state_dict_cfg, sync_bn=sync_bn, **kwargs
        )

    def _wrap_model(self, model: nn.Module) -> FullyShardedDataParallel:
        return super()._wrap_model(self.convert_model(model))

    def convert_model(self, model: nn.Module) -> nn.Module:
        """As MMEngine, but on a CPU with ordinary BatchNorm instead of SyncBatchNorm."""
        model = super().convert_model(model)
        return distributed.without_sync_bn(model) if get_device() == 'cpu' else model

    def build_optim_wrapper(
        self, optim_wrapper: Any, model: FullyShardedDataParallel
    ) -> BaseOptimWrapper:
        """As MMEngine, but gradients are clipped by the norm over all shards."""
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        if getattr(wrapper, 'clip_func', None) is clip_grad_norm_:
            wrapper.clip_func = lambda parameters, **limits: model.clip_grad_norm_(**limits)
        return wrapper

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Loads the state of the optimizer of the whole model, each process its shard."""
        optimizer = self.optim_wrapper.optimizer
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(self.model, optimizer, state_dict)
        )

    def save_checkpoint(self, filename: str, **kwargs: Any) -> None:
        """Saves a checkpoint, a file under a temporary name until it is whole."""
        if not (self._is_full_state_dict() and is_main_process()):
            super().save_checkpoint(filename, **kwargs)  # the others only gather a full one
            return
        path = Path(filename)
        remove_leftovers(path)
        with whole_file(path, suffix='', sync=True) as part:
            super().save_checkpoint(str(part), **kwargs)
