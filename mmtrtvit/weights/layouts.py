"""Names of EfficientViT's weights in other projects, and bias tables of another window.

==============  ==================================================================================
layout          names as in
==============  ==================================================================================
mmtrtvit        this package
official        microsoft/Cream, EfficientViT: classifiers and, below ``backbone.``, detectors
timm            ``timm.create_model('efficientvit_m4')``
timm-features   ``timm.create_model('efficientvit_m4', features_only=True)``
==============  ==================================================================================

Neck and heads of the official detectors have the names that they have in MMDetection 3.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor
from torch.nn.functional import interpolate

# From our names to those that the other layouts have in common, in this order.
_RENAMES = (
    (r'interaction\.branch', 'dw.m'),
    (r'ffn\.branch\.0', 'ffn.m.pw1'),
    (r'ffn\.branch\.1', 'ffn.m.pw2'),
    (r'before\.(dw|ffn)', r'\g<1>0'),
    (r'after\.(dw|ffn)', r'\g<1>1'),
    (r'\.dw\.m', '.0.m'),
    (r'\.ffn\.m', '.1.m'),
    (r'attention\.branch\.attention', 'mixer.m.attn'),
    (r'bias_table', 'attention_biases'),
    (r'heads\.(\d+)\.qkv', r'qkvs.\1'),
    (r'heads\.(\d+)\.query_conv', r'dws.\1'),
    (r'attn\.proj', 'attn.proj.1'),
    (r'\.expand\.', '.conv1.'),
    (r'\.reduce\.', '.conv2.'),
    (r'\.project\.', '.conv3.'),
    (r'\.squeeze_excite\.', '.se.'),
    (r'\.norm\.', '.bn.'),
)
_LEADS = 'res1', 'patchmerge', 'res2'  # what a stage of timm has before its blocks


def _common_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def official_name(name: str) -> str:
    """Returns the name in the authors' files for a name in our backbone."""
    name = re.sub(r'^stem\.(\d)', lambda match: f'patch_embed.{2 * int(match[1])}', name)
    name = re.sub(r'^stages\.(\d)', lambda match: f'blocks{int(match[1]) + 1}', name)
    return _common_name(name).replace('.conv.', '.c.')


def timm_name(name: str) -> str:
    """Returns the name in timm's model for a name in our backbone."""
    name = re.sub(r'^stem\.(\d)', lambda match: f'patch_embed.conv{int(match[1]) + 1}', name)
    return _common_name(re.sub(r'^stages\.(\d)\.(\d+)', _timm_block, name))


def timm_features_name(name: str) -> str:
    """Returns the name in timm's ``features_only`` model for a name in our backbone."""
    return re.sub(r'^(patch_embed|stages)\.', r'\1_', timm_name(name))


def _timm_block(match: re.Match) -> str:
    stage, index = int(match[1]), int(match[2])
    leads = _LEADS if stage else ()
    block = f'downsample.{leads[index]}' if index < len(leads) else f'blocks.{index - len(leads)}'
    return f'stages.{stage}.{block}'


OURS = 'mmtrtvit'
FOREIGN_NAMES = {'official': official_name, 'timm': timm_name, 'timm-features': timm_features_name}

_SIGNATURES = {
    'official': r'patch_embed\.\d\.c\.',
    'timm': r'patch_embed\.conv\d\.',
    'timm-features': r'patch_embed_conv\d\.',
}
_CLASSIFIER = r'head(_dist)?\.'
_FIRST = 'stem.0.conv.weight'  # tells a backbone in the names of a whole model


def layout_of(names: Iterable[str]) -> str:
    """Returns the layout that a backbone's names are in; ours if they are in no other."""
    for name in names:
        for layout, pattern in _SIGNATURES.items():
            if re.match(pattern, name):
                return layout
    return OURS


def rename(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Gives weights the names that a model of ours has for them.

    What the model lacks keeps its name, but for the authors' index tables, which are derived, and
    the classifier.

    Args:
        weights: Weights in any layout.
        own: State dict of a backbone, or of a whole model with backbones in it.

    Returns:
        The weights, and the names of the classifier's, which are not among them.
    """
    weights, classifier = dict(weights), []
    for prefix in _backbones(own):
        inside = [name for name in weights if name.startswith(prefix)]
        layout = layout_of(name.removeprefix(prefix) for name in inside)
        ours = (
            {}
            if layout == OURS
            else {
                prefix + FOREIGN_NAMES[layout](name.removeprefix(prefix)): name
                for name in own
                if name.startswith(prefix)
            }
        )
        for name in inside:
            value = weights.pop(name)
            if re.match(re.escape(prefix) + _CLASSIFIER, name) and name not in own:
                classifier.append(name)
            elif not name.endswith('attention_bias_idxs'):
                weights[ours.get(name, name)] = value
    return weights, classifier


def _backbones(own: Iterable[str]) -> Iterator[str]:
    """Yields what comes before the names of each backbone in a model."""
    return (
        name.removesuffix(_FIRST) for name in own if name == _FIRST or name.endswith(f'.{_FIRST}')
    )


def resize_bias_tables(weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Fits tables of attention biases to a model with other windows, in place.

    Interpolates as the authors do: bicubic, corners not aligned, without antialiasing.

    Args:
        weights: Weights by our names; a table is ``(heads, w * w)`` for windows of side w.
        own: State dict of the model.

    Returns:
        Names of the tables that were resized.
    """
    resized = []
    for name in (each for each in own if each.endswith('bias_table') and each in weights):
        table, (heads, size) = weights[name], own[name].shape
        old, new = math.isqrt(table.shape[-1]), math.isqrt(size)
        if old != new and table.shape == (heads, old * old):
            square = interpolate(
                table.float().reshape(1, heads, old, old),
                size=(new, new),
                mode='bicubic',
                align_corners=False,
            )
            weights[name] = square.view(heads, size)
            resized.append(name)
    return resized
