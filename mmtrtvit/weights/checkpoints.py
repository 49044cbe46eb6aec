"""Checkpoints: reading them, and finding the newest of a run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import UserError
from . import safe
from .download import cached_file
from .finite import require_finite
from .hub import SCHEMES, hub_file


def read_weights(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint to the CPU without running code from it.

    Args:
        path: A file of MMEngine, one of plain weights or one in the safetensors format.

    Raises:
        UserError: If the file is missing, damaged or not a checkpoint, or holds NaN or infinity.
    """
    path = Path(path).expanduser()
    try:
        checkpoint = _read(path)
    except UserError as error:
        if not path.is_file():
            raise
        readable = ', '.join(
            str(other)
            for other in safe.weight_files(path.absolute().parent)
            if other.name != path.name and is_readable(other)
        )
        advice = f' These can be read: {readable}.' if readable else ''
        raise UserError(f'{error}{advice}') from error
    require_finite(state_dict_of(checkpoint), str(path))
    return checkpoint


def require_readable(checkpoint: str | Path) -> None:
    """Refuses a checkpoint that :func:`read_weights` would, before much else is done.

    Raises:
        UserError: As :func:`read_weights`.
    """
    read_weights(checkpoint)


def is_readable(path: Path) -> bool:
    """Returns whether a checkpoint is whole."""
    try:
        return bool(_read(path))
    except (UserError, OSError):
        return False


def _read(path: Path) -> dict[str, Any]:
    return require_weights(safe.load(path, mmap=True), path.absolute())


def require_weights(checkpoint: Any, name: str | Path) -> dict[str, Any]:
    """Returns what was loaded if it holds the weights of a model.

    Args:
        checkpoint: What was loaded.
        name: What the message calls it.

    Raises:
        UserError: If it holds none.
    """
    weights = state_dict_of(checkpoint)
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f'{name} holds no weights of a model.')
    return checkpoint


def state_dict_of(checkpoint: Any) -> dict[str, Any]:
    """Returns the weights in a checkpoint by the names that the bare model has for them.

    They are in its ``state_dict``, in its ``model`` as with EfficientViT's authors, or all of it.
    """
    weights = checkpoint if isinstance(checkpoint, Mapping) else {}
    for name in ('model', 'state_dict'):
        if isinstance(weights.get(name), Mapping):
            weights = weights[name]
    return {str(key).removeprefix('module.'): value for key, value in weights.items()}


class Progress(NamedTuple):
    """How far a training was when it wrote a checkpoint; of two, the greater is the newer.

    Attributes:
        started: When the run began, as the name of the run in the checkpoint ends.
        iteration: How many iterations were done.
    """

    started: str
    iteration: int


def progress_of(file: Path) -> Progress | None:
    """Returns what a checkpoint says of its run; None if it does not, or cannot be read."""
    try:
        meta = _read(file).get('meta')
    except (UserError, OSError):
        return None
    meta = meta if isinstance(meta, Mapping) else {}
    name, iteration = meta.get('experiment_name'), meta.get('iter')
    stamp = re.search(r'\d{8}_\d{6}$', name) if isinstance(name, str) else None
    return Progress(stamp[0], iteration) if stamp and isinstance(iteration, int) else None


def newest_checkpoint(work_dir: str | Path, before: Path | None = None) -> Path | None:
    """Returns the checkpoint that the newest run in ``work_dir`` wrote last, readable or not.

    Which one that is, the checkpoints themselves say: by the time at which their run began, then by
    their iteration. The times of files, which copying changes, count only for those that do not
    tell, such as damaged ones: of these, the one that MMEngine's ``last_checkpoint`` names or one
    of a later step is newer, unless its file is older.

    Args:
        work_dir: Folder of the run.
        before: If given, the last readable one of an earlier step than this file's.
    """
    work_dir = Path(work_dir).absolute()
    steps = {file: _step(file) for file in work_dir.glob('*.pth') if _step(file) >= 0}
    if before is not None:
        steps = {file: n for file, n in steps.items() if n < _step(before) and is_readable(file)}
    told = {file: progress for file in steps if (progress := progress_of(file))}
    newest = max(told, key=lambda file: (told[file], steps[file]), default=None)
    for file in told:
        if file != newest:
            del steps[file]
    pointer = work_dir / 'last_checkpoint'
    named = work_dir / Path(pointer.read_text().strip()).name if pointer.is_file() else None
    last = named if named in steps and before is None else newest
    oldest = last.stat().st_mtime_ns if last else 0
    newer = (file for file in steps if file.stat().st_mtime_ns >= oldest)
    return max(newer, key=steps.__getitem__, default=None)


def is_sharded(checkpoint: str | Path) -> bool:
    """Returns whether a checkpoint is a folder, in which each process of a training has a file."""
    return Path(checkpoint).suffix == '.pth' and Path(checkpoint).is_dir()


def checkpoint_file(checkpoint: str | Path) -> Path:
    """Returns a checkpoint as it is, but of a work dir its newest one.

    Args:
        checkpoint: A file, the work dir of a run, or an address to download it from.

    Raises:
        UserError: If the work dir has none, the checkpoint is sharded, or it cannot be downloaded.
    """
    if str(checkpoint).startswith(('http://', 'https://')):
        return cached_file(str(checkpoint))
    if str(checkpoint).startswith(SCHEMES):
        return hub_file(str(checkpoint))
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
