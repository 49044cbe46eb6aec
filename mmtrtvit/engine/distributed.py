"""Runs of several processes, also on CPUs, for which MMEngine has no launcher."""

import gc
import logging
import os
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_reduce_dict, is_distributed
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import HOOKS, MODEL_WRAPPERS
from mmengine.runner import Runner
from torch import nn

from ..errors import UserError

# What each launcher sets in the environment of its processes, and how to start it.
LAUNCHERS = {
    'pytorch': ('RANK', 'torchrun: tools/dist_train.sh CONFIG GPUS'),
    'slurm': ('SLURM_PROCID', 'srun: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'Open MPI: mpirun -np GPUS python tools/train.py CONFIG'),
}
# Strategies of MMEngine's FlexibleRunner that several processes share the model by.
SHARDED = ('ShardedStrategy', 'FSDPStrategy', 'DeepSpeedStrategy')


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's wrapper for a model on a CPU, where there is no SyncBatchNorm."""

    def __init__(self, module: nn.Module, **kwargs: Any) -> None:
        super().__init__(module=without_sync_bn(module), **{**kwargs, 'device_ids': None})


def without_sync_bn(model: nn.Module) -> nn.Module:
    """Turns SyncBatchNorm into BatchNorm, and says so in the log."""
    layers = sum('SyncBatchNorm' in type(module).__name__ for module in model.modules())
    if layers:
        print_log(
            f'SyncBatchNorm needs GPUs: {layers} layers become BatchNorm, and each process takes '
            'the statistics of its own batch.',
            'current',
            logging.WARNING,
        )
    return revert_sync_batchnorm(model)


@HOOKS.register_module()
class MeanLossHook(Hook):
    """Averages the logged losses over all processes; MMEngine logs those of the first."""

    priority = 'HIGHEST'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Replaces the losses of an iteration by their means over all processes."""
        if outputs:
            all_reduce_dict(outputs, 'mean')


def join_processes(config: Config) -> None:
    """Prepares a config for the processes that its launcher started.

    Where PyTorch sees no GPU, this process joins the others through Gloo.

    Args:
        config: The whole config, changed in place.

    Raises:
        UserError: If the launcher did not start this process, or too many for the GPUs, or if the
            config's strategy cannot do what is asked of it.
    """
    launcher = config.get('launcher', 'none')
    _check_strategy(config, launcher)
    if launcher == 'none':
        return
    variable, start = LAUNCHERS[launcher]
    if variable not in os.environ:
        raise UserError(
            f'--launcher {launcher} is for processes that it started, and {variable} '
            f'is not set. Start them with {start}. One process needs no launcher.'
        )
    device = get_device()
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    if device == 'cuda' and processes > torch.cuda.device_count():
        raise UserError(
            f'{processes} processes were started here, one per GPU, and PyTorch sees '
            f'{torch.cuda.device_count()} GPUs.'
        )
    if device == 'cpu' and launcher != 'pytorch':
        raise UserError(
            f'--launcher {launcher} starts one process per GPU, and PyTorch sees none '
            f'here. For processes on CPUs take {LAUNCHERS["pytorch"][1]}'
        )
    if device == 'cpu':
        _join_on_cpu(config)


def leave_processes() -> None:
    """Leaves the other processes, when all work is done and nothing refers to its Runner.

    Gloo's threads end with the last reference to their group, and wrapped models, which have one,
    are in cycles that only the garbage collector frees. An interpreter that ended before them could
    be aborted by one of them, with exit code -6.
    """
    gc.collect()
    torch.distributed.destroy_process_group()


def _check_strategy(config: Config, launcher: str) -> None:
    strategy = (config.get('strategy') or {}).get('type')
    if launcher == 'none' and strategy in SHARDED:
        raise UserError(
            f'{strategy} shards a training over several processes. Start them with '
            f'{LAUNCHERS["pytorch"][1]}'
        )
    if strategy != 'DeepSpeedStrategy':
        return
    if find_spec('deepspeed') is None:
        raise UserError('DeepSpeedStrategy needs DeepSpeed: pip install deepspeed')
    if config.optim_wrapper.get('clip_grad'):
        raise UserError(
            'DeepSpeed clips gradients itself: instead of optim_wrapper.clip_grad set '
            'strategy.gradient_clipping to the largest norm.'
        )
    if (config.get('auto_scale_lr') or {}).get('enable'):
        raise UserError(
            'MMEngine does not scale the learning rate for DeepSpeed: set '
            'optim_wrapper.optimizer.lr to the one for your batch instead.'
        )


def _join_on_cpu(config: Config) -> None:
    if not is_distributed():
        seconds = config.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
        torch.distributed.init_process_group(
            'gloo', timeout=timedelta(seconds=seconds) if seconds else None
        )
    wrapper = dict(broadcast_buffers=False)  # MMEngine's default
    if config.get('runner_type') != 'FlexibleRunner':
        wrapper['find_unused_parameters'] = config.get('find_unused_parameters', False)
        config.model_wrapper_cfg = _cpu_wrapper(config.get('model_wrapper_cfg') or wrapper)
    elif (config.get('strategy') or dict(type='DDPStrategy')).get('type') == 'DDPStrategy':
        strategy = config.get('strategy') or {}
        config.strategy = dict(
            strategy,
            type='DDPStrategy',
            model_wrapper=_cpu_wrapper(strategy.get('model_wrapper') or wrapper),
        )


def _cpu_wrapper(wrapper: dict) -> dict:
    ours = wrapper.get('type') in (None, 'MMDistributedDataParallel')
    return dict(wrapper, type='CPUDistributedDataParallel') if ours else wrapper
