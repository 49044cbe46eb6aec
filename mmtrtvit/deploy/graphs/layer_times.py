"""Layer times: where the time of a graph goes, by modules of the model.

Runtimes merge nodes into layers; the time of a layer goes to the innermost module that all its
nodes share, by their names (:mod:`.nodes`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .nodes import module_of

POST_PROCESSING = 'post-processing'  # nodes of no module
INSERTED = 'inserted by the runtime'  # layers of no node


@dataclass(frozen=True)
class LayerTime:
    """A layer of the runtime.

    Attributes:
        name: The runtime's name.
        module: Path of the module, :data:`POST_PROCESSING` or :data:`INSERTED`.
        milliseconds: Median over the rounds.
    """

    name: str
    module: str
    milliseconds: float


@dataclass(frozen=True)
class Share:
    """A part of the whole.

    Attributes:
        name: A stage or a module.
        milliseconds: Time of all its layers.
        share: Of the time of all layers.
        layers: Number of layers.
    """

    name: str
    milliseconds: float
    share: float
    layers: int


def common_module(nodes: Iterable[str]) -> str:
    """Path of the innermost module of all nodes."""
    paths = [module_of(node) for node in nodes]
    if not paths:
        return INSERTED
    shared = paths[0]
    for path in paths[1:]:
        length = next(
            (index for index, (a, b) in enumerate(zip(shared, path)) if a != b),
            min(len(shared), len(path)),
        )
        shared = shared[:length]
    return '.'.join(shared) or POST_PROCESSING


def stage_of(module: str) -> str:
    """The part of the model that a module is of: ``'backbone.stages.0'``, ``'neck'``, ..."""
    parts = module.split('.')
    if parts[0] != 'backbone':
        return parts[0]
    return '.'.join(parts[: 3 if 'stages' in parts[1:2] else 2])


def by_stage(layers: Sequence[LayerTime]) -> list[Share]:
    """Time of each stage, in the order of the graph."""
    return _shares(layers, stage_of)


def by_module(layers: Sequence[LayerTime]) -> list[Share]:
    """Time of each innermost module, the slowest first."""
    return sorted(_shares(layers, str), key=lambda share: -share.milliseconds)


def _shares(layers: Sequence[LayerTime], group: Any) -> list[Share]:
    total = sum(layer.milliseconds for layer in layers) or 1.0
    groups: dict[str, list[float]] = {}
    for layer in layers:
        groups.setdefault(group(layer.module), []).append(layer.milliseconds)
    return [
        Share(name, sum(times), sum(times) / total, len(times)) for name, times in groups.items()
    ]
