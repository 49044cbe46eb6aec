"""Checkpoints: reading them, and finding the newest and the best of a run."""

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


class Best(NamedTuple):
    """The best checkpoint of a run.

    Attributes:
        file: The file.
        metric: Its metric, as file names have it: ``coco_bbox_mAP`` for ``coco/bbox_mAP``.
        score: The value of the metric.
    """

    file: Path
    metric: str
    score: float

    def __str__(self) -> str:
        return f'{self.file} ({self.metric} {self.score:.4f})'


def best_checkpoint(work_dir: str | Path) -> Best | None:
    """Returns the best checkpoint of the newest run in ``work_dir``; None if there is none.

    Which one that is, the newest checkpoint says, as a file ``best_*.pth`` may be of an earlier
    run. A run that ended before its first other checkpoint has that file alone.

    Args:
        work_dir: Folder of the run.
    """
    newest = newest_checkpoint(work_dir)
    if newest is None:
        files = Path(work_dir).absolute().glob('best_*.pth')
        told = {file: progress for file in files if (progress := progress_of(file))}
        newest = max(told, key=told.__getitem__, default=None)
    if newest is None or newest.is_dir():
        return None
    try:
        hub = _read(newest).get('message_hub') or {}
    except (UserError, OSError):
        return None
    info = hub.get('runtime_info') or {}
    for key, path in info.items():  # best_ckpt, or one best_ckpt_METRIC for each of several
        if key.startswith('best_ckpt') and isinstance(path, str):
            file = newest.with_name(Path(path).name)
            name = re.fullmatch(r'best_(.+)_(?:epoch|iter)_\d+\.pth', file.name)
            score = info.get(key.replace('best_ckpt', 'best_score'))
            if name and file.is_file() and score is not None:
                return Best(file, name[1], float(score))
    return None


def is_sharded(checkpoint: str | Path) -> bool:
    """Returns whether a checkpoint is a folder, in which each process of a training has a file."""
    return Path(checkpoint).suffix == '.pth' and Path(checkpoint).is_dir()


def checkpoint_file(checkpoint: str | Path) -> Path:
    """Returns a checkpoint as it is, but of a work dir its best one, or else its newest one.

    Args:
        checkpoint: A file, the work dir of a run, or an address to download it from.

    Raises:
        UserError: If the work dir has none, the checkpoint is sharded, or it cannot be downloaded.
    """
    return found_checkpoint(checkpoint)[0]


def found_checkpoint(checkpoint: str | Path) -> tuple[Path, str]:
    """Returns what :func:`checkpoint_file` does, and why it is that one of a work dir.

    Args:
        checkpoint: As for :func:`checkpoint_file`.

    Raises:
        UserError: As :func:`checkpoint_file`.
    """
    if str(checkpoint).startswith(('http://', 'https://')):
        return cached_file(str(checkpoint)), ''
    if str(checkpoint).startswith(SCHEMES):
        return hub_file(str(checkpoint)), ''
    file, reason = Path(checkpoint).expanduser(), ''
    if file.is_dir() and not is_sharded(file):
        if best := best_checkpoint(file):
            return best.file, f'the best of its run by {best.metric}, {best.score:.4f}'
        newest = newest_checkpoint(file)
        if newest is None:
            raise UserError(f'{checkpoint} has no checkpoint: no training got that far there.')
        file, reason = newest, 'the newest of its run, which has no best one'
    if is_sharded(file):
        run = file.parent
        raise UserError(
            f'{file} is a folder of a sharded training. DeepSpeed writes a script beside it that '
            f'makes one file of the weights, pytorch_model.bin in the folder OUT: '
            f'python {run}/zero_to_fp32.py {run} OUT --tag {file.name}'
        )
    return file, reason


def _step(file: Path) -> int:
    """Returns the epoch or iteration in a file's name, -1 for the best or another checkpoint."""
    match = re.fullmatch(r'(?!best_).*?(\d+)\.pth', file.name)
    return int(match[1]) if match else -1
