"""Graph: an ONNX graph with look-up of a tensor's source, type, shape and value."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from ...errors import UserError


def load_onnx(path: str | Path, weights: bool = True) -> onnx.ModelProto:
    """Reads an ONNX file.

    Args:
        path: The file.
        weights: Whether to read weights that lie in other files, too.

    Raises:
        UserError: If there is no such file, or it cannot be read as ONNX.
    """
    if not Path(path).is_file():
        raise UserError(f'there is no file {path}.')
    try:
        model = onnx.load(path, load_external_data=weights)
    except Exception as error:  # protobuf has errors of its own
        raise UserError(f'cannot read {path} as ONNX: {error}') from error
    if not model.HasField('graph'):  # an empty file
        raise UserError(f'cannot read {path} as ONNX: it has no graph.')
    return model


class Graph:
    """Nodes of a model with those of its subgraphs, and what is known of their tensors.

    Args:
        model: A model without functions of its own.

    Attributes:
        main: The outermost graph.
        nodes: All nodes.
        producers: The node that makes a tensor, by the tensor's name.
        initializers: Stored tensors by name.
        used: Names of the tensors that something takes.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.main = model.graph
        self.graphs = [model.graph, *subgraphs(model.graph)]
        self.nodes = [node for graph in self.graphs for node in graph.node]
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self.initializers = {
            tensor.name: tensor for graph in self.graphs for tensor in graph.initializer
        }
        self.used = {name for node in self.nodes for name in node.input} | {
            value.name for graph in self.graphs for value in graph.output
        }
        self._varying = {value.name for graph in self.graphs for value in graph.input}
        self._varying -= self.initializers.keys()
        for node in self.nodes:
            if _varies(node) or self._varying.intersection(node.input):
                self._varying.update(node.output)
        self._values: dict[str, np.ndarray] = {}
        self._model = model

    @cached_property
    def tensors(self) -> dict[str, onnx.TypeProto.Tensor]:
        """Element type and shape of every tensor whose type can be inferred."""
        inferred = onnx.shape_inference.infer_shapes(self._model, data_prop=True).graph
        tensors = {}
        for graph in [inferred, *subgraphs(inferred)]:
            for value in [*graph.input, *graph.value_info, *graph.output]:
                tensors[value.name] = value.type.tensor_type
        for name, tensor in self.initializers.items():
            shape = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            tensors[name] = shape.tensor_type
        return tensors

    def type(self, name: str) -> int:
        """Element type of a tensor, 0 if unknown."""
        return self.tensors[name].elem_type if name in self.tensors else 0

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Sizes of a tensor, None where unknown."""
        tensor = self.tensors.get(name)
        if tensor is None or not tensor.HasField('shape'):
            return None
        return tuple(
            side.dim_value if side.HasField('dim_value') else None for side in tensor.shape.dim
        )

    def constant(self, name: str) -> np.ndarray | None:
        """Value of a tensor that depends on no input of the graph, else None."""
        if name in self._varying:
            return None
        if name not in self._values:
            self._values[name] = self._evaluate(name)
        return self._values[name]

    def _evaluate(self, name: str) -> np.ndarray:
        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        node = self.producers[name]
        opsets = {each.domain: each.version for each in self._model.opset_import}
        inputs = {each: self.constant(each) for each in node.input if each}
        values = ReferenceEvaluator(node, opsets=opsets).run(None, inputs)
        return np.asarray(list(values)[list(node.output).index(name)])


def _varies(node: onnx.NodeProto) -> bool:
    """Whether a node may give something else each time, or holds graphs that may."""
    return node.op_type.startswith('Random') or any(each.HasField('g') for each in node.attribute)


def subgraphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Graphs inside a graph, at any depth."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField('g'):
                yield attribute.g
                yield from subgraphs(attribute.g)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Removes, in place, stored tensors that nothing takes any more."""
    used = {
        name for each in [graph, *subgraphs(graph)] for node in each.node for name in node.input
    }
    used |= {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
