"""Matching of weights: which tensors of a file fit a model."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..errors import UserError, listed
from ..tables import format_rows
from .layouts import rename, resize_bias_tables

Shape = tuple[int, ...]


@dataclass
class WeightsReport:
    """How the weights of a file fit a model.

    Attributes:
        missing: Tensors that only the model has.
        unexpected: Tensors that only the file has.
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
            f'  {len(keys)} {kind}: {listed(keys)}' for kind, keys in kinds.items() if keys
        )

    def table(self) -> str:
        """Returns a row for each part of the model: its tensors and what became of them."""
        lost = {*self.missing, *self.reshaped}
        loaded = {key: size for key, size in self.sizes.items() if key not in lost}
        columns = {
            'tensors': self.sizes,
            'loaded': loaded,
            'resized': self.resized,
            'missing': self.missing,
            'other shape': self.reshaped,
            'unexpected': self.unexpected,
        }
        counts = [_by_part(dict.fromkeys(keys, 1)) for keys in columns.values()]
        there, whole = _by_part(loaded), _by_part(self.sizes)
        rows = [['part', *columns, 'parameters']]
        for part in dict.fromkeys([*map(part_of, (*self.sizes, *self.unexpected)), 'all']):
            numbers = (str(count[part]) for count in counts)
            rows.append([part, *numbers, _percentage(there[part], whole[part])])
        lines = [format_rows(rows)]
        if self.classifier:
            lines.append(f'left out, as classifier: {listed(self.classifier)}')
        return '\n'.join(lines)


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
    weights: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    resize: bool = True,
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
        {
            key: tuple(value.shape)
            for key, value in state.items()
            if not key.endswith('num_batches_tracked')
        }
        for state in (own, weights)
    )
    sizes = {key: own[key].numel() for key in model}
    fitting = sum(size for key, size in sizes.items() if model[key] == file.get(key))
    return weights, WeightsReport(
        missing=[key for key in model if key not in file],
        unexpected=[key for key in file if key not in model],
        reshaped={
            key: (model[key], file[key]) for key in model if key in file and model[key] != file[key]
        },
        share=fitting / max(sum(sizes.values()), 1),
        sizes=sizes,
        resized=resized,
        classifier=classifier,
    )


def compare_weights(
    model_state: Mapping[str, Tensor], file_state: Mapping[str, Tensor]
) -> WeightsReport:
    """Compares names, in any layout, and shapes of the weights of a file with a model's."""
    return fit_weights(file_state, model_state, resize=False)[1]


def require_match(
    report: WeightsReport,
    name: str,
    *,
    meta: Mapping[str, Any] | None = None,
    allowed: Collection[str] = (),
) -> None:
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
            f"{report.share:.1%} of this model's parameters.\n{report}\n{_origin(meta or {})}Take "
            'the config it was trained with; weights of a backbone alone go to '
            'model.backbone.init_cfg.'
        )


def _origin(meta: Mapping[str, Any]) -> str:
    origin = []
    if meta.get('experiment_name'):
        config = re.sub(r'_\d{8}_\d{6}$', '', str(meta['experiment_name']))
        origin.append(f'the config {config}')
    classes = (meta.get('dataset_meta') or {}).get('classes')
    if isinstance(classes, list | tuple):
        origin.append(f'{len(classes)} classes ({listed(classes)})')
    return f'It was written by {" with ".join(origin)}. ' if origin else ''


def class_layers(report: WeightsReport, model: nn.Module) -> set[str]:
    """Returns those of ``report.reshaped`` that differ in nothing but the number of classes.

    They belong to a module that has ``num_classes``, and one other number of classes, with or
    without one more for the background, explains the first dimension of all of them.
    """
    heads = {
        name: module.num_classes
        for name, module in model.named_modules()
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
