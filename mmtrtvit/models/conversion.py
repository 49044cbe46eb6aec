"""Conversion of EfficientViT's weights between the layouts of several projects."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from ..files import write_whole
from ..weights.checkpoints import state_dict_of
from ..weights.layouts import FOREIGN_NAMES, OURS, layout_of, rename
from ..weights.loader import fetch_weights
from ..weights.matching import WeightsReport, fit_weights
from ..weights.pretrained import none_known
from . import EfficientViT

BACKBONE = 'backbone.'
TARGETS = OURS, 'timm', 'timm-features'


@dataclass
class Conversion:
    """The report of a conversion.

    Attributes:
        layout: Layout of the source.
        arch: Variant of the backbone.
        window_size: Sides of the windows of the three stages, in the written file.
        detector: Whether neck and heads were written, too.
        left_out: Parts of a detector that the written layout has no names for.
        report: How the source fits the backbone. Neck and heads of a detector are taken as they
            are.
    """

    layout: str
    arch: str
    window_size: tuple[int, ...]
    detector: bool
    left_out: list[str]
    report: WeightsReport


def convert_weights(
    source: str | Path,
    out: str | Path,
    *,
    arch: str | None = None,
    to: str = OURS,
    window_size: int | Sequence[int] | None = None,
    allow_partial: bool = False,
) -> Conversion:
    """Converts a checkpoint of an EfficientViT, or of a detector with one.

    Writes ``{'state_dict': ..., 'meta': ...}``, completely or not at all.

    Args:
        source: A file or an address, e.g. ``timm://`` and a name of timm.
        out: File to write.
        arch: Variant, ``'m0'`` to ``'m5'``; default: the one whose shapes fit best.
        to: Layout to write, one of ``TARGETS``.
        window_size: Side of the windows, for all stages or for each, that tables of attention
            biases are resized to; default: as in the source.
        allow_partial: Leave out what does not fit instead of refusing the source.

    Raises:
        UserError: If the source cannot be read, or does not fit.
    """
    if to not in TARGETS:
        raise UserError(f'cannot write the layout {to!r}, only one of {", ".join(TARGETS)}')
    out = Path(out).expanduser()
    if out.is_dir():
        raise UserError(f'{out} is a folder: name the file to write')
    weights = state_dict_of(fetch_weights(source))
    prefix = BACKBONE if any(name.startswith(BACKBONE) for name in weights) else ''
    inner = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    likely = _likely_arch(inner, source)
    arch = arch or likely
    sides = _window_size(inner, arch) if window_size is None else window_size
    backbone = _state(arch, sides if isinstance(sides, int) else tuple(sides))
    others = {name: value for name, value in weights.items() if prefix and _is_neck_or_head(name)}
    model = {prefix + name: value for name, value in backbone.items()} | others
    fitted, report = fit_weights(weights, model)
    if not allow_partial and (report.missing or report.unexpected or report.reshaped):
        hint = '' if arch == likely else f' The shapes are those of {likely}.'
        raise UserError(
            f'{source} does not fit EfficientViT-{arch}.{hint}\n{report.table()}\n'
            f'{report}\nTo leave out what does not fit: --allow-partial'
        )
    written = {
        name: fitted[name].clone()
        for name, value in model.items()
        if name in fitted and fitted[name].shape == value.shape
    }
    if to != OURS:
        written = {
            FOREIGN_NAMES[to](name.removeprefix(prefix)): value
            for name, value in written.items()
            if name not in others
        }
    sides = tuple(_sides(backbone).values())
    _write(out, written, dict(arch=arch, window_size=sides, layout=to, source=str(source)))
    left_out = sorted({name.partition('.')[0] for name in others}) if to != OURS else []
    return Conversion(
        layout_of(inner), arch, sides, bool(others) and not left_out, left_out, report
    )


def _likely_arch(weights: Mapping[str, Tensor], source: str | Path) -> str:
    shares = {
        arch: fit_weights(weights, _state(arch, 7))[1].share for arch in EfficientViT.arch_settings
    }
    arch = max(shares, key=shares.__getitem__)
    if not shares[arch]:
        raise UserError(f'{source}: {none_known(weights, EfficientViT.__name__)}')
    return arch


@cache
def _state(arch: str, window_size: int | tuple[int, ...]) -> dict[str, Tensor]:
    """Returns names and shapes of a backbone's weights."""
    with torch.device('meta'):
        return EfficientViT(arch, window_size).state_dict()


def _window_size(weights: Mapping[str, Tensor], arch: str) -> list[int]:
    ours, _ = rename(weights, _state(arch, 7))
    return list(({0: 7, 1: 7, 2: 7} | _sides(ours)).values())


def _sides(weights: Mapping[str, Tensor]) -> dict[int, int]:
    """Returns the side of the windows by stage, by the sizes of the tables of attention biases."""
    stages = {name: re.match(r'stages\.(\d)\..+bias_table', name) for name in weights}
    return {
        int(match[1]): math.isqrt(weights[name].shape[-1])
        for name, match in stages.items()
        if match
    }


def _is_neck_or_head(name: str) -> bool:
    part = name.partition('.')[0]
    return part == 'neck' or part.endswith('head')


def _write(path: Path, weights: dict[str, Tensor], meta: dict) -> None:
    buffer = io.BytesIO()
    torch.save(dict(state_dict=weights, meta=meta), buffer)
    write_whole(path, buffer.getvalue(), sync=True)
