"""Cuts backbones out of checkpoints, and converts EfficientViT's between several layouts."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..weights.checkpoints import checkpoint_file, state_dict_of
from ..weights.layouts import FOREIGN_NAMES, OURS, layout_of, rename
from ..weights.loader import fetch_weights, is_address
from ..weights.matching import WeightsReport, fit_weights
from ..weights.pretrained import none_known
from ..weights.writing import write_weights
from . import EfficientViT, TRTViT
from .structure import is_trt_vit, trt_vit_options

BACKBONE = 'backbone.'
TARGETS = OURS, 'timm', 'timm-features'


@dataclass
class Conversion:
    """The report of a conversion.

    Attributes:
        family: Class of the backbone.
        layout: Layout of the source.
        arch: Variant of the backbone; where it has no name, what it is built with.
        window_size: Sides of EfficientViT's windows in the three stages, in the written file; empty
            for a TRT-ViT.
        whole: Whether neck and heads were written, too.
        left_out: Parts of the source that were not written.
        report: How the source fits the backbone. Neck and heads are taken as they are.
    """

    family: str
    layout: str
    arch: str
    window_size: tuple[int, ...]
    whole: bool
    left_out: list[str]
    report: WeightsReport


def convert_weights(
    source: str | Path,
    out: str | Path,
    *,
    arch: str | None = None,
    to: str = OURS,
    window_size: int | Sequence[int] | None = None,
    whole: bool = False,
    allow_partial: bool = False,
) -> Conversion:
    """Writes the backbone in a checkpoint of a backbone, classifier, detector or segmentor.

    Args:
        source: A file, an address, e.g. ``timm://`` and a name of timm, or the work dir of a run.
        out: File to write, whole or not at all, see :func:`~..weights.writing.write_weights`.
        arch: Variant, such as ``'m0'`` or ``'b'``, that is required; default: what the shapes are.
        to: Layout to write, one of ``TARGETS``.
        window_size: Side of EfficientViT's windows, for all stages or for each, that tables of
            attention biases are resized to; default: as in the source.
        whole: Write neck and heads, too; only in our layout.
        allow_partial: Leave out what does not fit instead of refusing the source.

    Raises:
        UserError: If the source cannot be read, or does not fit.
    """
    if to not in TARGETS:
        raise UserError(f'cannot write the layout {to!r}, only one of {", ".join(TARGETS)}')
    if whole and to != OURS:
        raise UserError(f'the layout {to} has no names for necks and heads, which whole keeps')
    out = Path(out).expanduser()
    if out.is_dir():
        raise UserError(f'{out} is a folder: name the file to write')
    weights = state_dict_of(
        fetch_weights(source if is_address(source) else checkpoint_file(source))
    )
    prefix = BACKBONE if any(name.startswith(BACKBONE) for name in weights) else ''
    inner = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    others = {name: value for name, value in weights.items() if not name.startswith(prefix)}
    target = (_trt_vit if is_trt_vit(inner) else _efficient_vit)(inner, source, arch, window_size)
    kept = {name: value for name, value in others.items() if whole and _is_neck_or_head(name)}
    model = {prefix + name: value for name, value in target.state.items()} | kept
    parts = weights if whole else {prefix + name: value for name, value in inner.items()}
    fitted, report = fit_weights(parts, model)
    if not allow_partial and (report.missing or report.unexpected or report.reshaped):
        hint = '' if target.arch == target.likely else f' The shapes are those of {target.likely}.'
        raise UserError(
            f'{source} does not fit {target.family}-{target.arch}.{hint}\n{report.table()}\n'
            f'{report}\nTo leave out what does not fit: --allow-partial'
        )
    rename_to = _names(target.family, to)
    written = {
        name if whole else rename_to(name.removeprefix(prefix)): fitted[name]
        for name, value in model.items()
        if name in fitted and fitted[name].shape == value.shape
    }
    sides = tuple(_sides(target.state).values())
    meta = dict(arch=target.arch, window_size=sides, layout=to, source=str(source))
    write_weights(out, written, meta)
    left_out = sorted({name.partition('.')[0] for name in others if name not in kept})
    return Conversion(
        target.family, layout_of(inner), target.arch, sides, bool(kept), left_out, report
    )


@dataclass
class _Target:
    """The backbone that weights are fitted to, as names and shapes, and which one they are of."""

    family: str
    arch: str
    likely: str
    state: dict[str, Tensor]


def _trt_vit(
    weights: Mapping[str, Tensor],
    source: str | Path,
    arch: str | None,
    window_size: int | Sequence[int] | None,
) -> _Target:
    if window_size is not None:
        raise UserError(f'{source} is of a TRT-ViT, which has no windows: leave out --window-size')
    try:
        options = trt_vit_options(weights)
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    likely = _text(options)
    with torch.device('meta'):
        state = TRTViT(**(options if arch is None else dict(arch=arch))).state_dict()
    return _Target(TRTViT.__name__, arch or likely, likely, state)


def _text(options: dict[str, Any]) -> str:
    if len(options) == 1 and isinstance(options['arch'], str):
        return options['arch']
    return ', '.join(f'{key}={value}' for key, value in options.items())


def _efficient_vit(
    weights: Mapping[str, Tensor],
    source: str | Path,
    arch: str | None,
    window_size: int | Sequence[int] | None,
) -> _Target:
    likely = _likely_arch(weights, source)
    arch = arch or likely
    sides = _window_size(weights, arch) if window_size is None else window_size
    state = _state(arch, sides if isinstance(sides, int) else tuple(sides))
    return _Target(EfficientViT.__name__, arch, likely, state)


def _names(family: str, to: str) -> Callable[[str], str]:
    """Returns what makes a name of a layout from ours."""
    if to == OURS:
        return str
    if family == EfficientViT.__name__:
        return FOREIGN_NAMES[to]
    features = to == 'timm-features'  # timm's names of a TRT-ViT are ours, see timm_models
    return lambda name: re.sub(r'^(stem|stages)\.', r'\1_', name) if features else name


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
