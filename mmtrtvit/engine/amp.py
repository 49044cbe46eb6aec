"""Mixed precision: MMEngine's on a GPU, and bfloat16 on a CPU, where MMEngine has none."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from ..environment import has_bf16
from ..errors import UserError

BY_DEVICE = dict(cpu='CpuAmpOptimWrapper', cuda='AmpOptimWrapper')


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Mixed precision on a CPU: PyTorch computes convolutions and products in bfloat16.

    Weights, gradients and the optimiser stay in float32. bfloat16 has float32's range, so losses
    are not scaled.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Lets the forward pass run in mixed precision."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


def use_amp(config: Config) -> str:
    """Switches a config to mixed precision, if this device gains by it.

    Returns:
        Why it stays in float32; nothing if it does not.

    Raises:
        UserError: If there is no mixed precision for the device or the config.
    """
    device = get_device()
    if device == 'mps':
        raise UserError('--amp is for CPUs and GPUs of NVIDIA, not for mps. Leave it out.')
    kind = config.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', *BY_DEVICE.values()):
        raise UserError(f'--amp replaces OptimWrapper, but optim_wrapper.type is {kind}.')
    if device == 'cpu' and not has_bf16():
        return (
            '--amp: this processor has no instructions for bfloat16 (AVX512-BF16, AMX), without '
            'which it would be slower. The training stays in float32.'
        )
    config.optim_wrapper.type = BY_DEVICE.get(device, 'AmpOptimWrapper')
    if device != 'cpu':
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    return ''
