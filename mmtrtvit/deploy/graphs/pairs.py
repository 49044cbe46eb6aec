"""QuantizeLinear and DequantizeLinear in front of layers, as TensorRT takes them.

Inputs get one range for a tensor, weights one for each channel in INT8, all symmetric. The rest of
the graph does not change, so post-processing stays as exact as it was.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import TensorsData

from .formats import NumberFormat
from .graph import drop_unused


def with_pairs(
    model: onnx.ModelProto,
    layers: Sequence[onnx.NodeProto],
    ranges: TensorsData,
    kind: NumberFormat,
    float_weights: bool = False,
) -> onnx.ModelProto:
    """Returns a copy with QuantizeLinear and DequantizeLinear in front of the layers.

    Args:
        model: The float32 graph.
        layers: Nodes of it.
        ranges: Of their inputs.
        kind: What to quantize to.
        float_weights: Store weights as float32, followed by QuantizeLinear and DequantizeLinear.
    """
    chosen = {node.name for node in layers}
    copy = _of_opset(model, kind)
    graph = copy.graph
    del graph.value_info[:]
    stored = {tensor.name: tensor for tensor in graph.initializer}
    pairs = _Pairs(graph, kind)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.name in chosen:
            source, weight = node.input[:2]
            # TensorRT 8.6 wants a pair for each layer, later releases merge them.
            end = f'/{node.name}' if float_weights else ''
            least, most = ranges[source].range_value
            node.input[0] = pairs.of_tensor(source, max(abs(least), abs(most)), nodes, end)
            node.input[1] = pairs.of_weight(node, stored[weight], nodes, float_weights)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(graph)
    return copy


def _of_opset(model: onnx.ModelProto, kind: NumberFormat) -> onnx.ModelProto:
    """A copy of the opset that has the format, or of its own if that is later."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if next(each.version for each in model.opset_import if not each.domain) < kind.opset:
        copy = onnx.version_converter.convert_version(copy, kind.opset)
    copy.ir_version = max(copy.ir_version, kind.ir_version)
    return copy


class _Pairs:
    """Writes QuantizeLinear and DequantizeLinear of a graph, each only once.

    Args:
        graph: Gets scales and weights.
        kind: What to quantize to.
    """

    def __init__(self, graph: onnx.GraphProto, kind: NumberFormat) -> None:
        self._stored = graph.initializer
        self._kind = kind
        self._done: set[str] = set()

    def of_tensor(self, source: str, largest: float, nodes: list[onnx.NodeProto], end: str) -> str:
        """Returns the name of the rounded tensor; what rounds it goes to ``nodes``."""
        name = source + end
        if name not in self._done:
            scale = self._scale(name, np.array(largest, np.float32))
            self._add('QuantizeLinear', source, name, scale, nodes)
            self._add('DequantizeLinear', f'{name}_QuantizeLinear_Output', name, scale, nodes)
        return f'{name}_DequantizeLinear_Output'

    def of_weight(
        self,
        layer: onnx.NodeProto,
        weight: TensorProto,
        nodes: list[onnx.NodeProto],
        stays_float: bool,
    ) -> str:
        """Returns the name of a layer's rounded weights; what makes them goes to ``nodes``."""
        name = weight.name
        if name not in self._done:
            values = numpy_helper.to_array(weight)
            axis = _output_axis(layer) if self._kind.per_channel else None
            others = tuple(each for each in range(values.ndim) if each != axis)
            scale = self._scale(name, np.abs(values).max(axis=others, keepdims=True), axis)
            if stays_float:
                self._add('QuantizeLinear', name, name, scale, nodes)
                source = f'{name}_QuantizeLinear_Output'
            else:
                source = f'{name}_quantized'
                rounded = self._kind.round(values / scale.values)
                self._stored.append(self._kind.tensor(source, rounded))
            self._add('DequantizeLinear', source, name, scale, nodes)
        return f'{name}_DequantizeLinear_Output'

    def _scale(self, name: str, largest: np.ndarray, axis: int | None = None) -> '_Scale':
        """Stores the scale and the zero point of a tensor, for each place along an axis."""
        self._done.add(name)
        values = np.asarray(largest / np.float32(self._kind.largest), np.float32)
        values = np.where(values > 0, values, np.float32(1))  # of nothing but zeros
        shape = () if axis is None else (-1,)
        scale = _Scale(values, (f'{name}_scale', f'{name}_zero_point'), axis)
        zeros = np.zeros_like(values, np.int8).reshape(shape)
        self._stored.append(numpy_helper.from_array(values.reshape(shape), scale.names[0]))
        self._stored.append(self._kind.tensor(scale.names[1], zeros))
        return scale

    def _add(
        self, op: str, source: str, name: str, scale: '_Scale', nodes: list[onnx.NodeProto]
    ) -> None:
        along: dict[str, Any] = {} if scale.axis is None else dict(axis=scale.axis)
        output = f'{name}_{op}_Output'
        nodes.append(
            helper.make_node(op, [source, *scale.names], [output], f'{name}_{op}', **along)
        )


class _Scale(NamedTuple):
    """The scale of a tensor: its values, the names of it and of the zero point, and its axis."""

    values: np.ndarray
    names: tuple[str, str]
    axis: int | None


def _output_axis(layer: onnx.NodeProto) -> int:
    """The axis of a layer's weights that its output channels lie along."""
    if layer.op_type == 'Conv':
        return 0
    transposed = any(each.name == 'transB' and each.i for each in layer.attribute)
    return 0 if transposed else 1
