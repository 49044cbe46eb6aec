"""Turns a file that may run code into one of plain weights, in a process of its own.

``python -m mmtrtvit.weights.trusted FILE OUT`` is that process. It keeps the code of the file from
what the calling process has in memory, not from what the user may do.
"""

import pickle
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..files import whole_file
from .checkpoints import read_weights, state_dict_of


def convert_trusted(source: str | Path, out: str | Path) -> dict[str, Tensor]:
    """Writes the weights in a file of any format, and nothing else of it; **runs its code**.

    Args:
        source: A file of any PyTorch, a pickle of tensors or arrays, or a TorchScript archive.
        out: File to write, ``{'state_dict': ...}``, whole or not at all.

    Returns:
        The weights, by the names in the source.

    Raises:
        UserError: If the source is missing or holds no weights.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if not source.is_file():
        raise UserError(f'no file {source.absolute()}')
    if out.is_dir():
        raise UserError(f'{out} is a folder: name the file to write')
    with TemporaryDirectory() as folder:
        plain = Path(folder, 'plain.pth')
        command = [sys.executable, '-m', __name__, str(source.absolute()), str(plain)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode or not plain.is_file():
            lines = done.stderr.strip().splitlines() or [f'exit code {done.returncode}']
            raise UserError(f'{source} gave no weights: {lines[-1]}')
        weights = state_dict_of(read_weights(plain))
        with whole_file(out) as part:
            torch.save(dict(state_dict=weights), part)
    return weights


def _load_running_code(path: str) -> Any:
    try:
        return torch.load(path, map_location='cpu', weights_only=False)
    except (pickle.UnpicklingError, RuntimeError):  # no file of PyTorch
        with open(path, 'rb') as file:
            return pickle.load(file, encoding='latin1')  # also those of Python 2


def _tensors_in(loaded: Any) -> dict[str, Tensor]:
    weights = loaded.state_dict() if isinstance(loaded, nn.Module) else state_dict_of(loaded)
    arrays = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in weights.items()
    }
    return {
        name: value.detach().clone() for name, value in arrays.items() if isinstance(value, Tensor)
    }


if __name__ == '__main__':
    torch.save(_tensors_in(_load_running_code(sys.argv[1])), sys.argv[2])
