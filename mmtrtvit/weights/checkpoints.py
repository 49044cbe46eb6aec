"""Checkpoints: reading them, and finding the newest of a run."""

import pickle
import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from ..errors import UserError, did_you_mean
from . import hub
from .finite import require_finite

SAFETENSORS = '.safetensors'


def _method_of_history(owner: Any, name: str) -> Any:
    """Does for HistoryBuffer what ``getattr`` may not be allowed to do for every object."""
    if owner is not HistoryBuffer:
        raise pickle.UnpicklingError('Unsupported global: GLOBAL builtins.getattr')
    return getattr(owner, name)


def _named(function: Callable[..., Any], module: str, name: str) -> Callable[..., Any]:
    """A function by the name that a file has for it, which is what PyTorch compares."""

    def call(*args: Any) -> Any:
        return function(*args)

    call.__module__, call.__name__, call.__qualname__ = module, name, name
    return call


def allow_mmengine_checkpoints() -> None:
    """Lets ``torch.load(weights_only=True)`` read what is saved beside the weights.

    By MMEngine that is the history of logged values, with arrays of NumPy 1 or 2 and its own
    methods; by timm and by EfficientViT's authors the arguments of the training.
    """
    torch.serialization.add_safe_globals(_saved_beside_weights())


@cache
def _saved_beside_weights() -> list[Any]:
    core = np._core if hasattr(np, '_core') else np.core
    functions = [
        _named(function, f'{package}.multiarray', function.__name__)
        for function in (core.multiarray._reconstruct, core.multiarray.scalar)
        for package in ('numpy.core', 'numpy._core')
    ]
    functions.append(_named(_method_of_history, 'builtins', 'getattr'))
    functions.append(_named(str.encode, '_codecs', 'encode'))  # of bytes; PyTorch 2.4 refuses it
    dtypes = {type(np.dtype(name)) for name in ('bool', 'i4', 'i8', 'u4', 'u8', 'f2', 'f4', 'f8')}
    return [HistoryBuffer, Namespace, np.ndarray, np.dtype, *dtypes, *functions]


def read_weights(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint to the CPU without running code from it.

    Args:
        path: A file of MMEngine, one of plain weights or one in the safetensors format.

    Raises:
        UserError: If the file is missing, damaged or not a checkpoint, or holds NaN or infinity.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        names = [other.name for other in path.parent.glob('*.pth')]
        raise UserError(f'no checkpoint {path.absolute()}.{did_you_mean(path.name, names)}')
    if path.suffix == SAFETENSORS and find_spec('safetensors') is None:
        raise UserError(f'{path}: safetensors is not installed: pip install safetensors')
    try:
        checkpoint = _load(path)
    except Exception as error:
        readable = ', '.join(
            str(other)
            for other in path.absolute().parent.glob('*.pth')
            if other.name != path.name and is_readable(other)
        )
        advice = f' These can be read: {readable}.' if readable else ''
        raise UserError(f'{path.absolute()} {_defect(path, error)}.{advice}') from error
    require_finite(state_dict_of(checkpoint), str(path))
    return checkpoint


def require_readable(checkpoint: str | Path) -> None:
    """Refuses a checkpoint that :func:`read_weights` would, before much else is done.

    Raises:
        UserError: As :func:`read_weights`.
    """
    read_weights(checkpoint)


def fetch_weights(source: str | Path) -> dict[str, Any]:
    """Reads a checkpoint from a file, or from timm's place on the Hugging Face Hub.

    Args:
        source: A file, or ``timm://`` and a name of timm.

    Raises:
        UserError: If it cannot be read or downloaded.
    """
    if str(source).startswith(hub.SCHEME):
        return hub.load_from_timm(str(source))
    if '://' in str(source):
        raise UserError(f'{source}: download it first; of addresses, only {hub.SCHEME} is read')
    return read_weights(source)


def is_readable(path: Path) -> bool:
    """Returns whether a checkpoint is whole."""
    try:
        return bool(_load(path))
    except Exception:
        return False


def _load(path: Path) -> dict[str, Any]:
    if path.suffix == SAFETENSORS:
        from safetensors.torch import load_file

        return load_file(path)
    allow_mmengine_checkpoints()
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except RuntimeError as error:
        if 'mmap' not in str(error):
            raise
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)  # of PyTorch < 1.6
    weights = state_dict_of(checkpoint)
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError('holds no weights of a model')
    return checkpoint


def _defect(path: Path, error: Exception) -> str:
    if path.stat().st_size == 0:
        return 'is empty'
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, pickle.UnpicklingError):
        foreign = re.search(r'GLOBAL ([\w.]+)', str(error))
        if foreign:
            return f'holds more than weights ({foreign[1]}), which is not safe to load'
        return 'is not a PyTorch checkpoint'
    if isinstance(error, OSError) or not str(error):  # mmap of a few bytes says nothing useful
        return 'is cut off or damaged'
    return f'is cut off or damaged ({str(error).splitlines()[0]})'


def state_dict_of(checkpoint: Any) -> dict[str, Any]:
    """Returns the weights in a checkpoint by the names that the bare model has for them.

    They are in its ``state_dict``, in its ``model`` as with EfficientViT's authors, or all of it.
    """
    weights = checkpoint if isinstance(checkpoint, Mapping) else {}
    for name in ('model', 'state_dict'):
        if isinstance(weights.get(name), Mapping):
            weights = weights[name]
    return {str(key).removeprefix('module.'): value for key, value in weights.items()}


def newest_checkpoint(work_dir: str | Path, before: Path | None = None) -> Path | None:
    """Returns the checkpoint that a run in ``work_dir`` wrote last, readable or not.

    That is the one that MMEngine's ``last_checkpoint`` names, or one of a later step that is not
    older than it.

    Args:
        work_dir: Folder of the run.
        before: If given, the last readable one of an earlier step than this file's.
    """
    work_dir = Path(work_dir).absolute()
    steps = {file: _step(file) for file in work_dir.glob('*.pth') if _step(file) >= 0}
    if before is not None:
        steps = {file: n for file, n in steps.items() if n < _step(before) and is_readable(file)}
    pointer = work_dir / 'last_checkpoint'
    named = work_dir / Path(pointer.read_text().strip()).name if pointer.is_file() else None
    oldest = named.stat().st_mtime_ns if named in steps and before is None else 0
    newer = (file for file in steps if file.stat().st_mtime_ns >= oldest)
    return max(newer, key=steps.__getitem__, default=None)


def is_sharded(checkpoint: str | Path) -> bool:
    """Returns whether a checkpoint is a folder, in which each process of a training has a file."""
    return Path(checkpoint).suffix == '.pth' and Path(checkpoint).is_dir()


def checkpoint_file(checkpoint: str | Path) -> Path:
    """Returns a checkpoint as it is, but of a work dir its newest one.

    Raises:
        UserError: If the work dir has none, or the checkpoint is sharded.
    """
    path = Path(checkpoint).expanduser()
    newest = newest_checkpoint(path) if path.is_dir() and not is_sharded(path) else path
    if newest is None:
        raise UserError(f'{checkpoint} has no checkpoint: no training got that far there.')
    if is_sharded(newest):
        run = newest.parent
        raise UserError(
            f'{newest} is a folder of a sharded training. DeepSpeed writes a script beside it that '
            f'makes one file of the weights, pytorch_model.bin in the folder OUT: '
            f'python {run}/zero_to_fp32.py {run} OUT --tag {newest.name}'
        )
    return newest


def _step(file: Path) -> int:
    """Returns the epoch or iteration in a file's name, -1 for the best or another checkpoint."""
    match = re.fullmatch(r'(?!best_).*?(\d+)\.pth', file.name)
    return int(match[1]) if match else -1
