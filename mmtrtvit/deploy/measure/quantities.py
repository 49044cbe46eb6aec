"""What a figure sets beside latencies: parameters, multiply-adds and a metric of each model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...analysis.cost import cost_of
from ...analysis.curves import read_scalars
from ...analysis.networks import Network, build_network
from ...engine.config import read_config
from ...errors import UserError
from ...weights.checkpoints import checkpoint_file, progress_of
from .sources import Source

COUNTED = (
    'They are counted for configs, weights, timm:NAME and what tools/deploy.py wrote of a config '
    'that is still there: leave the others out.'
)


@dataclass(frozen=True)
class Quantity:
    """What a figure draws over latencies.

    Attributes:
        attribute: Of :class:`.benchmark.ModelFacts`.
        title: What messages call it.
        label: What the axis is called; of a metric its own name.
        unit: What the axis counts in.
        more_is_better: Whether a larger value is the better one.
        advice: What to do where it is not known, a sentence.
    """

    attribute: str
    title: str
    label: str
    unit: float
    more_is_better: bool
    advice: str


QUANTITIES = dict(
    metric=Quantity('metric', 'the metrics', '', 1, True, 'Give them as --metric MODEL=VALUE.'),
    params=Quantity('parameters', 'the parameters', 'parameters, millions', 1e6, False, COUNTED),
    macs=Quantity(
        'macs', 'the multiply-adds', 'multiply-adds for an image, 10⁹', 1e9, False, COUNTED
    ),
)


def build(source: Source) -> Network | None:
    """Returns the network of a model without numbers; None if its config is not known or usable."""
    name = source.target if source.kind == 'timm' else source.config
    try:
        return None if name is None else build_network(name)
    except UserError:
        if source.is_random:
            raise
        return None


def count_cost(network: Network | None, size: tuple[int, int]) -> tuple[int, int] | None:
    """Returns parameters, and multiply-adds for an image, of a network; None if it has none.

    Args:
        network: As :func:`build` returns it.
        size: Height and width of the image.
    """
    if network is None:
        return None
    model, _, run = network
    image = torch.empty(1, 3, *size, device='meta')
    try:
        total = cost_of(model, lambda: run(image), [image]).total
    except (UserError, RuntimeError, AssertionError):  # such as timm's, about the size
        return None
    return total.parameters, total.macs


def read_metrics(
    sources: Sequence[Source], given: Mapping[str, float], name: str | None = None
) -> tuple[str, dict[str, float]]:
    """Returns the name of a metric, and its values by model, of those of which it is known.

    It is given, or was logged when the weights were saved.

    Args:
        sources: The models.
        given: Values by the names of models.
        name: Of the metric; default: the one that the trainings save their best weights by, or the
            first one that they logged.

    Raises:
        UserError: If a value is given for no model, or two trainings have other metrics.
    """
    names = [source.name for source in sources]
    if unknown := [model for model in given if model not in names]:
        raise UserError(
            f'--metric {unknown[0]}=...: that is none of the models. They are: {", ".join(names)}.'
        )
    values, titles = dict(given), {}
    for source in sources:
        if source.name not in given and (logged := _logged(source, name)):
            titles[source.name], values[source.name] = logged
    if len(kinds := {*titles.values()}) > 1:
        raise UserError(
            f'the trainings have other metrics: {", ".join(sorted(kinds))}. Name one that all of '
            'them have, --metric NAME, or give values, --metric MODEL=VALUE.'
        )
    return kinds.pop() if kinds else name or 'metric', values


def _logged(source: Source, name: str | None) -> tuple[str, float] | None:
    """The name and value of a metric that the training logged when it saved the weights."""
    if source.checkpoint is None or source.config is None or '://' in source.checkpoint:
        return None
    try:
        file = checkpoint_file(source.checkpoint)
        _, metrics = read_scalars(file.parent)
        name = name or _best_by(source.config) or next(iter(metrics), None)
        progress = progress_of(file)
    except (UserError, OSError, ValueError):
        return None
    at = dict(metrics.get(name, ())) if name else {}
    return (name, at[progress.iteration]) if progress and progress.iteration in at else None


def _best_by(config: str) -> str | None:
    if not Path(config).is_file():
        return None
    hooks = read_config(config).get('default_hooks') or {}
    name = (hooks.get('checkpoint') or {}).get('save_best')
    return name if isinstance(name, str) and name != 'auto' else None
