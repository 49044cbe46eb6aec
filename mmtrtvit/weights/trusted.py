"""Turns a file that may run code into one of plain weights, in a process of its own.

The process keeps the file's code from what the calling one has in memory, not from what its user
may do.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from ..errors import UserError
from .checkpoints import read_weights, state_dict_of
from .writing import write_weights

PROCESS = Path(__file__).with_name('run_file.py')


def convert_trusted(source: str | Path, out: str | Path) -> dict[str, Tensor]:
    """Writes the weights in a file of any format, and nothing else of it; **runs its code**.

    Args:
        source: A file of any PyTorch, a pickle of tensors or arrays, or a TorchScript archive.
        out: File to write, whole or not at all.

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
        command = [sys.executable, str(PROCESS), str(source.absolute()), str(plain)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode or not plain.is_file():
            lines = done.stderr.strip().splitlines() or [f'exit code {done.returncode}']
            raise UserError(f'{source} gave no weights: {lines[-1]}')
        weights = state_dict_of(read_weights(plain))
        write_weights(out, weights, {})
    return weights
