"""Half precision in a graph: what stays in single precision, and the same graph without half.

Normalisations, softmax and means sum many numbers up or take exponentials: half precision holds
neither their sums nor their small differences.
"""

import onnx
from onnx import TensorProto, helper, numpy_helper

from .graph import Graph, drop_unused, subgraphs

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
LARGEST = 65504.0  # the largest number of half precision
FLOAT_OPS = frozenset(
    (
        'BatchNormalization',
        'GlobalAveragePool',
        'GroupNormalization',
        'InstanceNormalization',
        'LayerNormalization',
        'LogSoftmax',
        'LpNormalization',
        'ReduceL1',
        'ReduceL2',
        'ReduceLogSumExp',
        'ReduceMean',
        'ReduceSum',
        'ReduceSumSquare',
        'Softmax',
    )
)


def sum_in_float(model: onnx.ModelProto) -> None:
    """Lets, in place, every half-precision node of :data:`FLOAT_OPS` compute in single precision.

    Its input is cast in front of it, and its output behind it.
    """
    if not any(tensor.data_type == HALF for tensor in model.graph.initializer):
        return
    graph = Graph(model)
    nodes = []
    for node in model.graph.node:
        halves = [name for name in node.input if graph.type(name) == HALF]
        if node.op_type not in FLOAT_OPS or not halves:
            nodes.append(node)
            continue
        for name in halves:
            wide = f'{node.output[0]}/float/{name}'
            if name in graph.initializers:  # which parsers want constant
                values = numpy_helper.to_array(graph.initializers[name]).astype('float32')
                model.graph.initializer.append(numpy_helper.from_array(values, wide))
            else:
                nodes.append(_cast(name, wide, FLOAT, f'{node.name}/Cast'))
            node.input[:] = [wide if each == name else each for each in node.input]
        output = node.output[0]
        node.output[0] = f'{output}/float'
        nodes += [node, _cast(node.output[0], output, HALF, f'{node.name}/Cast_1')]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    drop_unused(model.graph)


def half_tensors(model: onnx.ModelProto) -> dict[str, str]:
    """Names of the half-precision tensors that nodes compute, each with its node's name."""
    graph = Graph(model)
    return {
        name: node.name or name
        for node in model.graph.node
        for name in node.output
        if graph.type(name) == HALF
    }


def without_half(model: onnx.ModelProto) -> None:
    """Makes, in place, all half precision of a graph single precision."""
    for graph in [model.graph, *subgraphs(model.graph)]:
        for tensor in graph.initializer:
            _widen(tensor)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField('t'):
                    _widen(attribute.t)
                elif node.op_type == 'Cast' and attribute.name == 'to' and attribute.i == HALF:
                    attribute.i = FLOAT
        for value in [*graph.input, *graph.value_info, *graph.output]:
            if value.type.tensor_type.elem_type == HALF:
                value.type.tensor_type.elem_type = FLOAT


def _cast(source: str, target: str, kind: int, name: str) -> onnx.NodeProto:
    return helper.make_node('Cast', [source], [target], name=name, to=kind)


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == HALF:
        values = numpy_helper.to_array(tensor).astype('float32')
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
