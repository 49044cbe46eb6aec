"""Layer times: where the time of a graph goes, by modules of the model.

Runtimes merge nodes into layers; the time of a layer goes to the innermost module that all its
nodes share, by their names (:mod:`..graphs.nodes`).
"""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ...runtime.sessions.onnx import OnnxSession
from ..graphs.nodes import module_of, nodes_of_layer

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


def engine_layers(
    rounds: Sequence[Mapping[str, float]], descriptions: Sequence[Mapping[str, Any]]
) -> list[LayerTime]:
    """Layers of an engine.

    Args:
        rounds: Milliseconds of each layer by name, in each round, as IProfiler reports them.
        descriptions: What the engine inspector says: ``Name``, and ``Metadata`` with the nodes
            where TensorRT knows them; elsewhere the names of the nodes are in that of the layer.
    """
    metadata = {each['Name']: each.get('Metadata', '') for each in descriptions}
    layers = []
    for name in rounds[0]:
        nodes = nodes_of_layer(name, metadata.get(name, ''))
        layers.append(
            LayerTime(name, common_module(nodes), median(each.get(name, 0.0) for each in rounds))
        )
    return layers


def onnx_layers(
    path: str | Path,
    inputs: Mapping[str, np.ndarray],
    *,
    rounds: int = 10,
    warmup: int = 2,
    threads: int = 0,
    timeout: float | None = None,
) -> list[LayerTime]:
    """Layers of an ONNX file in ONNX Runtime on the CPU, by its own profiler.

    Args:
        path: The file.
        inputs: Arrays by name.
        rounds: Runs that count.
        warmup: Runs before them.
        threads: Threads of one operator; 0 for one per core.
        timeout: Most seconds of a run; None for no limit.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = OnnxSession(
            path, threads=threads, timeout=timeout, profile=Path(folder, 'profile')
        )
        for _ in range(warmup + rounds):
            session.run(inputs)
        events = json.loads(session.end_profile().read_text())
    times: dict[str, list[float]] = {}
    for event in events:
        if event.get('cat') == 'Node' and event['name'].endswith('_kernel_time'):
            name = event['name'].removesuffix('_kernel_time')
            times.setdefault(name, []).append(event['dur'] / 1000)
    return [
        LayerTime(name, common_module(nodes_of_layer(name)), median(values[warmup:]))
        for name, values in times.items()
    ]


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
