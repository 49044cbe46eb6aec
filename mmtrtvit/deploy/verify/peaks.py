"""Peaks: the largest values that a file of half precision would have to hold.

ONNX Runtime computes half precision in single precision on a CPU, and so hides what overflows on a
GPU. Here the graph runs in single precision throughout, and each tensor that the file has in half
is reduced to its largest absolute value in the graph, so no activation is kept.
"""

import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...runtime.sessions.base import Arrays
from ...runtime.sessions.onnx import OnnxSession
from ..graphs.graph import load_onnx
from ..graphs.half import LARGEST, half_tensors, without_half
from ..graphs.nodes import module_of

NEAR = 0.1  # share of half precision's largest number that other images might exceed


@dataclass(frozen=True)
class Peak:
    """The largest absolute value of a layer's half-precision tensors.

    Attributes:
        layer: Path of the module, or the node's name where it belongs to none.
        value: The value; infinite where there is something that is no number.
    """

    layer: str
    value: float

    @property
    def overflows(self) -> bool:
        """Whether half precision cannot hold it."""
        return self.value > LARGEST

    @property
    def near(self) -> bool:
        """Whether half precision holds it, but perhaps not that of another image."""
        return NEAR * LARGEST < self.value <= LARGEST


@dataclass(frozen=True)
class Peaks:
    """What :func:`half_peaks` found.

    Attributes:
        layers: A peak for each layer, in the graph's order.
        images: How many images went through the graph.
    """

    layers: tuple[Peak, ...]
    images: int

    @property
    def overflowing(self) -> list[Peak]:
        """Those that half precision cannot hold, in the graph's order."""
        return [peak for peak in self.layers if peak.overflows]

    @property
    def near(self) -> list[Peak]:
        """Those that come near to it, in the graph's order."""
        return [peak for peak in self.layers if peak.near]

    def largest(self, count: int = 10) -> list[Peak]:
        """The largest, first the very largest."""
        return sorted(self.layers, key=lambda peak: -peak.value)[:count]


def half_peaks(
    path: str | Path,
    batches: Iterable[Arrays],
    device: str = 'cpu',
    timeout: float | None = None,
) -> Peaks:
    """Runs a file of half precision in single precision, and looks at all that would be half.

    Args:
        path: The ONNX file.
        batches: Inputs of the graph, one image each.
        device: Where to run.
        timeout: Most seconds of a run.

    Raises:
        UserError: If the file cannot be run, does not take the inputs, or takes longer.
    """
    model = load_onnx(path)
    tensors = half_tensors(model)
    without_half(model)
    names = _reduce(model, list(tensors))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, 'peaks.onnx')
        onnx.save(model, copy)
        session = OnnxSession(copy, device, timeout=timeout)
    values: np.ndarray = np.zeros(len(names))
    images = 0
    for batch in batches:
        found = session.run(batch)
        values = np.maximum(values, [found[name] for name in names])
        images += 1
    layers: dict[str, float] = {}
    for node, value in zip(tensors.values(), values):
        layer = '.'.join(module_of(node)) or node
        layers[layer] = max(layers.get(layer, 0.0), float(value))
    return Peaks(tuple(Peak(layer, value) for layer, value in layers.items()), images)


def _reduce(model: onnx.ModelProto, tensors: list[str]) -> list[str]:
    """Makes the largest absolute values of tensors the outputs of a graph; returns their names."""
    names = [f'peak/{tensor}' for tensor in tensors]
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(math.inf, np.float32), 'peak'))
    for tensor, name in zip(tensors, names):
        size, missing, number = f'{name}/size', f'{name}/missing', f'{name}/number'
        graph.node.extend(
            (
                helper.make_node('Abs', [tensor], [size]),
                helper.make_node('IsNaN', [tensor], [missing]),
                helper.make_node('Where', [missing, 'peak', size], [number]),
                helper.make_node('ReduceMax', [number], [name], keepdims=0),
            )
        )
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in names
    )
    return names
