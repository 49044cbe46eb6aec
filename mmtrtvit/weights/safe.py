"""Reads files of weights without running code from them.

What is read: PyTorch's zip files, as weights only, and safetensors. A file is known by its
content, not by its name. Everything else is refused: pickles run whatever they name, PyTorch's
formats before 1.6 are pickles or archives of them, and TorchScript archives are programs.
"""

import json
import pickle
import re
import tarfile
from argparse import Namespace
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from ..errors import UserError, did_you_mean

SAFETENSORS = '.safetensors'
META = 'mmtrtvit'  # key of a safetensors file's texts: what a checkpoint has as meta, as JSON
ZIP = b'PK\x03\x04'
BEFORE_1_6 = pickle.dumps(torch.serialization.MAGIC_NUMBER, 2)
UNSAFE = 'which is not safe to load'


# Classes inside of classes, which a pickle names by a call of ``getattr``.
_inner_classes: set[type] = set()


def allow(classes: Iterable[type], inner: Iterable[type] = ()) -> None:
    """Lets files hold more than weights: objects of classes whose ``__setstate__`` is harmless.

    Args:
        classes: Classes of a module.
        inner: Classes that are defined in one of those.
    """
    _inner_classes.update(inner)
    torch.serialization.add_safe_globals([*classes, *inner])


def _attribute(owner: Any, name: str) -> Any:
    """Does for a few classes what ``getattr`` may not be allowed to do for every object."""
    if isinstance(owner, type) and not name.startswith('_'):
        value = getattr(owner, name)
        if owner is HistoryBuffer or isinstance(value, type) and value in _inner_classes:
            return value
    raise pickle.UnpicklingError('Unsupported global: GLOBAL builtins.getattr')


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
    functions.append(_named(_attribute, 'builtins', 'getattr'))
    functions.append(_named(str.encode, '_codecs', 'encode'))  # of bytes; PyTorch 2.4 refuses it
    dtypes = {type(np.dtype(name)) for name in ('bool', 'i4', 'i8', 'u4', 'u8', 'f2', 'f4', 'f8')}
    return [HistoryBuffer, Namespace, np.ndarray, np.dtype, *dtypes, *functions]


def load(path: str | Path, map_location: Any = 'cpu', *, mmap: bool = False) -> Any:
    """Loads what is in a file of weights.

    Args:
        path: The file.
        map_location: Where tensors go, as ``torch.load`` takes it; of safetensors, only a device.
        mmap: Read the tensors of a zip file when they are used, instead of now.

    Raises:
        UserError: If it is missing or damaged, or could run code.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        names = [other.name for other in weight_files(path.parent)]
        raise UserError(f'no checkpoint {path.absolute()}.{did_you_mean(path.name, names)}')
    try:
        if defect := _defect_of_format(path):
            raise UserError(f'{path.absolute()} {defect}.{_way_to_trust(path, defect)}')
        if not _is_zip(path):
            return _load_safetensors(path, map_location)
        allow_mmengine_checkpoints()
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except (UserError, PermissionError):
        raise
    except Exception as error:
        defect = _defect(error)
        raise UserError(f'{path.absolute()} {defect}.{_way_to_trust(path, defect)}') from error


def weight_files(folder: Path) -> list[Path]:
    """Returns the files of a folder that may be checkpoints, by their names."""
    return sorted(path for path in folder.glob('*') if path.suffix in ('.pth', SAFETENSORS))


def _load_safetensors(path: Path, map_location: Any) -> dict[str, Any]:
    require_safetensors(path)
    from safetensors import safe_open

    device = str(map_location) if isinstance(map_location, str | torch.device) else 'cpu'
    with safe_open(path, framework='pt', device=device) as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = (file.metadata() or {}).get(META)
    return dict(state_dict=weights, meta=dict(json.loads(meta))) if meta else weights


def require_safetensors(path: Path) -> None:
    """Refuses a file in the safetensors format where the package for it is missing."""
    if find_spec('safetensors') is None:
        raise UserError(f'{path}: safetensors is not installed: pip install safetensors')


def _head(path: Path) -> bytes:
    with open(path, 'rb') as file:
        return file.read(32)


def _is_zip(path: Path) -> bool:
    return _head(path).startswith(ZIP)


def _defect_of_format(path: Path) -> str | None:
    """Returns why a file of this format is not loaded at all, None if it is."""
    head = _head(path)
    if not head:
        return 'is empty'
    if head.startswith(ZIP):
        if path.suffix == SAFETENSORS:  # by which PyTorch goes
            return 'is not a safetensors file but a PyTorch one: rename it to .pth'
        if 'constants.pkl' in torch._C.PyTorchFileReader(str(path)).get_all_records():
            return f'is a TorchScript archive, a program, {UNSAFE}'
        return None
    header = int.from_bytes(head[:8], 'little')  # of safetensors: its size, then itself in JSON
    if head[8:9] == b'{' and header <= path.stat().st_size:
        return None
    if head.startswith(BEFORE_1_6):
        return f'has the format of PyTorch before 1.6, {UNSAFE}'
    if head[:1] == pickle.PROTO and head[1:2] <= bytes([pickle.HIGHEST_PROTOCOL]):
        return f'is a bare pickle, {UNSAFE}'
    if tarfile.is_tarfile(path):
        return f'is a tar archive, the format of PyTorch before 0.4, {UNSAFE}'
    return 'is cut off or damaged' if path.suffix == SAFETENSORS else 'is not a PyTorch checkpoint'


def _defect(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        foreign = re.search(r'(?:GLOBAL|class) ([\w.]+)', str(error))
        return f'holds more than weights{f" ({foreign[1]})" if foreign else ""}, {UNSAFE}'
    if isinstance(error, OSError) or not str(error):  # mmap of a few bytes says nothing useful
        return 'is cut off or damaged'
    return f'is cut off or damaged ({str(error).splitlines()[0]})'


def _way_to_trust(path: Path, defect: str) -> str:
    if UNSAFE not in defect:
        return ''
    return (
        ' If you trust where it comes from: python tools/convert_weights.py --trust '
        f'{path.absolute()} OUT'
    )
