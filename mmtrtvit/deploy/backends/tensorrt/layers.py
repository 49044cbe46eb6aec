"""Layers of an engine."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ...graphs.layer_times import LayerTime, common_module
from ...graphs.nodes import nodes_of_layer


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
