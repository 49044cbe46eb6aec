"""What a TRT-ViT is made of, told from the names and shapes of its weights."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import UserError
from .trt_vit import TRTViT

_KINDS = {'branch': 'C', 'norm1': 'T', 'merge': 'M'}  # by a part that only this block has
HEAD_DIM = 32  # the default
_DEFAULTS = dict(pattern='C-C-C-M', mix_ratio=0.5, mlp_ratio=3.0)


def is_trt_vit(weights: Mapping[str, Tensor]) -> bool:
    """Returns whether weights have the names of a TRT-ViT of ours."""
    names = '\n'.join(weights)
    return 'stem.0.conv.weight' in weights and bool(
        re.search(rf'^stages\.\d\.\d+\.({"|".join(_KINDS)})\.', names, re.M)
    )


def trt_vit_options(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns the arguments that build the TRT-ViT of some weights.

    MixBlocks A and C have the same weights: they come out as C.

    Args:
        weights: Weights of a backbone by our names.

    Returns:
        ``arch``, by its name if it has one, and what is not the default.

    Raises:
        UserError: If a stage has no block, or blocks of several kinds.
    """
    stages = [_stage(weights, index) for index in range(4)]
    arch: Any = dict(
        depths=tuple(stage['depth'] for stage in stages),
        channels=tuple(stage['channels'] for stage in stages),
    )
    for name, settings in TRTViT.arch_settings.items():
        if arch == settings:
            arch = name
    options: dict[str, Any] = dict(_DEFAULTS, pattern='-'.join(stage['kind'] for stage in stages))
    mixed = [stage for stage in stages if stage['transformer']]
    for stage in mixed:
        if stage['kind'] != 'T':
            options['mix_ratio'] = stage['transformer'] / stage['channels']
    if mixed:
        options['mlp_ratio'] = max(_ratio(stage['hidden'], stage['transformer']) for stage in mixed)
        head_dim = math.gcd(*(stage['transformer'] for stage in mixed))
        if head_dim % HEAD_DIM:
            options['head_dim'] = head_dim
    changed = {key: value for key, value in options.items() if value != _DEFAULTS.get(key)}
    return dict(arch=arch, **changed)


def _stage(weights: Mapping[str, Tensor], index: int) -> dict[str, Any]:
    blocks: dict[str, str] = {}
    for name in weights:
        match = re.match(rf'stages\.{index}\.(\d+)\.(\w+)\.', name)
        if match and match[2] in _KINDS:
            blocks[match[1]] = _KINDS[match[2]]
    if len({*blocks.values()}) != 1:
        raise UserError(
            f'stage {index + 1} has {"blocks of several kinds" if blocks else "no block"}: these '
            'are not the weights of a whole TRT-ViT'
        )
    first = min(blocks, key=int)
    kind = blocks[first]

    def width(name: str, dim: int = 0) -> int:
        value = weights.get(f'stages.{index}.{first}.{name}')
        return 0 if value is None else value.shape[dim]

    channels = width(dict(C='branch.2.conv.weight', T='norm1.weight', M='merge.conv.weight')[kind])
    inside = '' if kind == 'T' else 'transformer.'
    transformer = width(f'{inside}norm1.weight')
    if kind == 'M' and width('reduce.conv.weight') != transformer:
        kind = 'MB'
    return dict(
        kind=kind,
        depth=len(blocks),
        channels=channels,
        transformer=transformer,
        hidden=width(f'{inside}mlp.0.weight'),
    )


def _ratio(hidden: int, width: int) -> float:
    """Returns a number that ``width`` times and rounded down is ``hidden``."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width
