"""Reads checkpoints, finds the newest one, and tells whether one belongs to a model."""

import pickle
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from . import hub
from .errors import UserError
from .layouts import rename, resize_bias_tables
from .names import did_you_mean
from .tables import format_rows

Shape = tuple[int, ...]
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
        for package in ('numpy.core', 'numpy._core')]
    functions.append(_named(_method_of_history, 'builtins', 'getattr'))
    functions.append(_named(str.encode, '_codecs', 'encode'))  # of bytes; PyTorch 2.4 refuses it
    dtypes = {type(np.dtype(name)) for name in ('bool', 'i4', 'i8', 'u4', 'u8', 'f2', 'f4', 'f8')}
    return [HistoryBuffer, Namespace, np.ndarray, np.dtype, *dtypes, *functions]


def read_weights(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint to the CPU without running code from it.

    Args:
        path: A file of MMEngine, one of plain weights or one in the safetensors format.

    Raises:
        UserError: If the file is missing, damaged, or not a checkpoint.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        names = [other.name for other in path.parent.glob('*.pth')]
        raise UserError(f'no checkpoint {path.absolute()}.{did_you_mean(path.name, names)}')
    if path.suffix == SAFETENSORS and find_spec('safetensors') is None:
        raise UserError(f'{path}: safetensors is not installed: pip install safetensors')
    try:
        return _load(path)
    except Exception as error:
        readable = ', '.join(str(other) for other in path.absolute().parent.glob('*.pth')
                             if other.name != path.name and is_readable(other))
        raise UserError(
            f'{path.absolute()} {_defect(path, error)}.'
            + f' These can be read: {readable}.' * bool(readable)) from error


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
            f'python {run}/zero_to_fp32.py {run} OUT --tag {newest.name}')
    return newest


def _step(file: Path) -> int:
    """Returns the epoch or iteration in a file's name, -1 for the best or another checkpoint."""
    match = re.fullmatch(r'(?!best_).*?(\d+)\.pth', file.name)
    return int(match[1]) if match else -1


@dataclass
class WeightsReport:
    """How the weights of a file fit a model.

    Attributes:
        missing: What the model has and the file has not.
        unexpected: What the file has and the model has not.
        reshaped: What both have in different shapes: of the model, of the file.
        share: Share of the model's numbers that the file provides.
        sizes: Count of numbers in each tensor of the model.
        resized: Tables of attention biases that were interpolated to another window.
        classifier: What was left out of the file because a backbone has no classifier.
    """

    missing: list[str]
    unexpected: list[str]
    reshaped: dict[str, tuple[Shape, Shape]]
    share: float
    sizes: dict[str, int] = field(repr=False)
    resized: list[str]
    classifier: list[str]

    def __str__(self) -> str:
        reshaped = [f'{key} {model}, not {file}' for key, (model, file) in self.reshaped.items()]
        kinds = {
            'not in the file': self.missing,
            'not in the model': self.unexpected,
            'of another shape': reshaped,
        }
        return '\n'.join(
            f'  {len(keys)} {kind}: {_listed(keys)}' for kind, keys in kinds.items() if keys)

    def table(self) -> str:
        """Returns a row for each part of the model: its tensors and what became of them."""
        lost = {*self.missing, *self.reshaped}
        loaded = {key: size for key, size in self.sizes.items() if key not in lost}
        columns = {
            'tensors': self.sizes, 'loaded': loaded, 'resized': self.resized,
            'missing': self.missing, 'other shape': self.reshaped, 'unexpected': self.unexpected}
        counts = [_by_part(dict.fromkeys(keys, 1)) for keys in columns.values()]
        there, whole = _by_part(loaded), _by_part(self.sizes)
        rows = [['part', *columns, 'parameters']]
        for part in dict.fromkeys([*map(part_of, (*self.sizes, *self.unexpected)), 'all']):
            numbers = (str(count[part]) for count in counts)
            rows.append([part, *numbers, _percentage(there[part], whole[part])])
        lines = [format_rows(rows)]
        if self.classifier:
            lines.append(f'left out, as classifier: {_listed(self.classifier)}')
        return '\n'.join(lines)


def _listed(names: Sequence[str]) -> str:
    return ', '.join([*names[:5]] + ['...'] * (len(names) > 5))


def part_of(name: str) -> str:
    """Returns which part of a model a weight belongs to, by its name in any layout."""
    first, _, inner = name.partition('.')
    if first == 'neck' or first.endswith('head'):
        return 'neck' if first == 'neck' else 'heads'
    name = inner if first == 'backbone' else name
    stage = re.match(r'stages[._](\d)\.|blocks(\d)\.', name)
    if stage:
        return f'stage {int(stage[1]) + 1 if stage[1] else stage[2]}'
    return 'stem' if re.match('stem|patch_embed', name) else 'others'


def _by_part(numbers: Mapping[str, int]) -> Counter:
    sums: Counter = Counter()
    for name, number in numbers.items():
        sums.update({part_of(name): number, 'all': number})
    return sums


def _percentage(part: int, whole: int) -> str:
    if part == whole:
        return '100%' if whole else '-'
    return f'{min(part / whole, 0.999):.1%}'


def fit_weights(
        weights: Mapping[str, Tensor], own: Mapping[str, Tensor], resize: bool = True,
) -> tuple[dict[str, Tensor], WeightsReport]:
    """Gives weights the names that a model has for them and compares both.

    BatchNorm's counters of batches are not compared.

    Args:
        weights: Weights by our names or, for EfficientViT, by those of its authors or of timm.
        own: State dict of a backbone, or of a whole model with one.
        resize: Fit tables of attention biases to the model's windows.

    Returns:
        The weights, those that do not fit included, and the comparison.
    """
    weights, classifier = rename(weights, own)
    resized = resize_bias_tables(weights, own) if resize else []
    model, file = (
        {key: tuple(value.shape) for key, value in state.items()
         if not key.endswith('num_batches_tracked')} for state in (own, weights))
    sizes = {key: own[key].numel() for key in model}
    fitting = sum(size for key, size in sizes.items() if model[key] == file.get(key))
    return weights, WeightsReport(
        missing=[key for key in model if key not in file],
        unexpected=[key for key in file if key not in model],
        reshaped={
            key: (model[key], file[key]) for key in model
            if key in file and model[key] != file[key]
        },
        share=fitting / max(sum(sizes.values()), 1),
        sizes=sizes,
        resized=resized,
        classifier=classifier)


def compare_weights(
        model_state: Mapping[str, Tensor], file_state: Mapping[str, Tensor]) -> WeightsReport:
    """Compares names, in any layout, and shapes of the weights of a file with a model's."""
    return fit_weights(file_state, model_state, resize=False)[1]


def require_match(
        report: WeightsReport,
        name: str,
        meta: Mapping[str, Any] | None = None,
        allowed: Collection[str] = ()) -> None:
    """Refuses weights that do not fit.

    Args:
        report: The comparison.
        name: What the message calls the file.
        meta: What MMEngine recorded in the file about its origin.
        allowed: Keys that may have another shape.

    Raises:
        UserError: If anything but the allowed keys does not fit.
    """
    if report.missing or report.unexpected or set(report.reshaped) - set(allowed):
        raise UserError(
            f'{name} looks like the checkpoint of another model or config: it has '
            f'{report.share:.1%} of this model\'s parameters.\n{report}\n{_origin(meta or {})}Take '
            'the config it was trained with; weights of a backbone alone go to '
            'model.backbone.init_cfg.')


def _origin(meta: Mapping[str, Any]) -> str:
    origin = []
    if meta.get('experiment_name'):
        config = re.sub(r'_\d{8}_\d{6}$', '', str(meta['experiment_name']))
        origin.append(f'the config {config}')
    classes = (meta.get('dataset_meta') or {}).get('classes')
    if isinstance(classes, list | tuple):
        shown = ', '.join(map(str, classes[:5])) + ', ...' * (len(classes) > 5)
        origin.append(f'{len(classes)} classes ({shown})')
    return f'It was written by {" with ".join(origin)}. ' if origin else ''


def class_layers(report: WeightsReport, model: nn.Module) -> set[str]:
    """Returns those of ``report.reshaped`` that differ in nothing but the number of classes.

    They belong to a module that has ``num_classes``, and one other number of classes, with or
    without one more for the background, explains the first dimension of all of them.
    """
    heads = {
        name: module.num_classes for name, module in model.named_modules()
        if isinstance(getattr(module, 'num_classes', None), int) and module.num_classes > 0
    }
    counts: dict[str, set[int]] = {}
    for key, (ours, theirs) in report.reshaped.items():
        inside = [count for name, count in heads.items() if not name or key.startswith(f'{name}.')]
        if inside and len(ours) == len(theirs) > 0 and ours[1:] == theirs[1:]:
            counts[key] = _class_counts(theirs[0], ours[0], inside[-1])
    return set(counts) if counts and set.intersection(*counts.values()) else set()


def _class_counts(file_size: int, model_size: int, classes: int) -> set[int]:
    """Returns the numbers of classes that the file may have, given the model's."""
    counts = set()
    for background in (0, 1):
        per_class, rest = divmod(model_size, classes + background)
        if per_class and not rest and file_size % per_class == 0:
            counts.add(file_size // per_class - background)
    return counts - {0}
