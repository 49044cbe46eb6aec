"""Environment: which packages are installed, and whether they load."""

import importlib
import os
import platform
import re
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from .errors import UserError
from .version import __version__

PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmseg')


def environment() -> dict[str, str]:
    """Returns the versions of everything that mmtrtvit builds on, and the state of ``mmcv.ops``."""
    distributions = packages_distributions()
    versions = {
        package: _version(package, set(distributions.get(package, ()))) for package in PACKAGES
    }
    return {
        'mmtrtvit': __version__,
        'python': platform.python_version(),
        **versions,
        'mmcv.ops': _mmcv_ops(),
    }


def _version(package: str, distributions: set[str]) -> str:
    if find_spec(package) is None:
        return 'not installed'
    try:
        version = importlib.import_module(package).__version__
    except Exception as error:  # whatever a package raises that refuses the others' versions
        return f'cannot be imported: {error}'
    if distributions <= {package}:
        return version
    return f'{version} ({", ".join(sorted(distributions))})'  # such as onedl-mmdetection


def _mmcv_ops() -> str:
    try:
        spec = find_spec('mmcv._ext')
    except Exception:  # mmcv is not installed or cannot be imported
        spec = None
    if spec is None:
        return 'none'
    served = Path(spec.origin).name == '_mmcv_ext.py'
    kernels = 'kernels of torchvision, by mmtrtvit' if served else f'compiled, {spec.origin}'
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        return f'{kernels}, cannot be imported: {error}'
    return kernels


def require_torch(least: str, what: str) -> None:
    """Refuses what an older PyTorch than ``least`` cannot do, or does wrongly.

    Raises:
        UserError: If the installed one is older.
    """
    import torch
    from mmengine.utils import digit_version

    if digit_version(torch.__version__) < digit_version(least):
        raise UserError(f'{what} needs PyTorch {least} or newer; this is {torch.__version__}')


def device_name(device: str) -> str:
    """Name of the processor, with its number of cores, or of the GPU.

    Args:
        device: ``'cpu'`` or ``'cuda'``.
    """
    if device == 'cuda':
        import torch

        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')
    names = re.findall(r'model name\s*: (.*)', info.read_text()) if info.exists() else []
    name = names[0] if names else platform.processor() or platform.machine()
    return f'{name} {os.cpu_count()} cores'


def has_bf16() -> bool:
    """Whether the processor has instructions for bfloat16, as far as Linux tells."""
    info = Path('/proc/cpuinfo')
    words = set(info.read_text().split()) if info.exists() else set()
    return not words.isdisjoint(('avx512_bf16', 'amx_bf16', 'bf16'))


def require_device(device: str) -> None:
    """Refuses a device that PyTorch does not find.

    Raises:
        UserError: If it is not there.
    """
    import torch

    if device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: PyTorch finds no GPU here')
