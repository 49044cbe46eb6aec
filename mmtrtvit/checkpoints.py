"""Checkpoint files: read safely, compare with a model, report what does not fit."""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from .errors import UserError

# What MMEngine keeps in a checkpoint beside tensors: the history of logged values.
SAFE_GLOBALS = [
    HistoryBuffer, getattr, slice, np.ndarray, np.dtype, np.dtypes.Float64DType,
    np.dtypes.Float32DType, np.dtypes.Int64DType,
    np._core.multiarray._reconstruct if hasattr(np, '_core') else np.core.multiarray._reconstruct,
    np._core.multiarray.scalar if hasattr(np, '_core') else np.core.multiarray.scalar,
]
NOT_WEIGHTS = 'num_batches_tracked'


def read_checkpoint(path: str | Path) -> dict:
    """Reads a checkpoint to the CPU without running code from it.

    Raises:
        UserError: If the file is missing, truncated, no checkpoint, or holds objects other than
            tensors, plain values and MMEngine's log history.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'{path}: no such checkpoint.{_others_in(path)}')
    try:
        torch.serialization.add_safe_globals(SAFE_GLOBALS)
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise UserError(
                f'{path} holds objects that are not loaded, for your safety: '
                f'{str(error).splitlines()[0]} Save its weights alone.') from error
        raise UserError(f'{path} is truncated or no checkpoint.{_others_in(path)}') from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise UserError(f'{path} is truncated or no checkpoint.{_others_in(path)}') from error
    if not isinstance(checkpoint, Mapping) or not _weights(checkpoint):
        raise UserError(f'{path} holds no weights: expected a state dict or a key "state_dict".')
    return dict(checkpoint)


def weights_of(checkpoint: Mapping) -> dict[str, Tensor]:
    """The weights by name, without the ``module.`` that a distributed wrapper prepends."""
    return {key.removeprefix('module.'): value for key, value in _weights(checkpoint).items()}


@dataclass
class LoadReport:
    """What of a file fits a model.

    Attributes:
        missing: Keys of the model that the file lacks.
        unexpected: Keys of the file that the model lacks.
        mismatched: Key, shape in the file and shape in the model, where they differ.
        loaded: Parameters (numbers, not tensors) of the model that the file fills.
        total: Parameters of the model.
    """

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple, tuple]] = field(default_factory=list)
    loaded: int = 0
    total: int = 0

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        share = 100 * self.loaded / max(self.total, 1)
        lines = [f'{share:.1f}% of the model\'s {self.total / 1e6:.2f}M parameters fit']
        lines += _listed('missing in the file', self.missing)
        lines += _listed('not in the model', self.unexpected)
        lines += _listed('of another shape', [
            f'{key}: {found} in the file, {expected} in the model'
            for key, found, expected in self.mismatched])
        return '\n  '.join(lines)


def compare_weights(model: Mapping[str, Tensor], file: Mapping[str, Tensor]) -> LoadReport:
    """Compares two state dicts by key and shape; BatchNorm's batch counter does not count."""
    report = LoadReport()
    for key, tensor in model.items():
        if key.endswith(NOT_WEIGHTS):
            continue
        report.total += tensor.numel()
        if key not in file:
            report.missing.append(key)
        elif file[key].shape != tensor.shape:
            report.mismatched.append((key, tuple(file[key].shape), tuple(tensor.shape)))
        else:
            report.loaded += tensor.numel()
    report.unexpected = [
        key for key in file if key not in model and not key.endswith(NOT_WEIGHTS)]
    return report


def require_match(report: LoadReport, name: str, allow_other_classes: bool = False) -> None:
    """Refuses a file that does not fill the model.

    Args:
        report: From :func:`compare_weights`.
        name: What to call the file in the message.
        allow_other_classes: Accept layers that differ in their first dimension alone, as a
            classifier for other classes does.

    Raises:
        UserError: With the report.
    """
    mismatched = report.mismatched
    if allow_other_classes:
        mismatched = [row for row in mismatched if row[1][1:] != row[2][1:]]
    if report.missing or report.unexpected or mismatched:
        raise UserError(
            f'{name} belongs to another model: {report}\n'
            'Use the config that it was trained with, or the checkpoint of this config.')


def _weights(checkpoint: Mapping) -> dict[str, Tensor]:
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, Mapping):
        return {}
    return {key: value for key, value in weights.items() if isinstance(value, Tensor)}


def _listed(title: str, entries: list[str], limit: int = 5) -> list[str]:
    if not entries:
        return []
    more = [f'  ... and {len(entries) - limit} more'] if len(entries) > limit else []
    return [f'{len(entries)} {title}:', *(f'  {entry}' for entry in entries[:limit]), *more]


def _others_in(path: Path) -> str:
    others = [
        other for other in sorted(path.parent.glob('*.pth'), key=lambda file: file.stat().st_mtime)
        if other != path]
    return f' Others in that folder, newest last: {", ".join(map(str, others))}.' if others else ''
