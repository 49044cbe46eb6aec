"""Layers of a model in OpenVINO."""

from collections.abc import Mapping, Sequence
from statistics import median

from ...graphs.layer_times import LayerTime, common_module


def openvino_layers(rounds: Sequence[Mapping[str, float]]) -> list[LayerTime]:
    """Layers by the names of their ops, which are those of the ONNX file's nodes.

    Args:
        rounds: Milliseconds of each layer by name, in each round.
    """
    return [
        LayerTime(name, common_module([name]), median(each.get(name, 0.0) for each in rounds))
        for name in rounds[0]
    ]
