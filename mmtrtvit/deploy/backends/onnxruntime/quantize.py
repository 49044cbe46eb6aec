"""INT8 as ONNX Runtime computes it fast on a CPU: feature maps stay in eight bits between layers.

ONNX Runtime has a kernel in eight bits for a convolution only where its output is rounded, too. So
chains of layers are quantized, with the additions, concatenations and activations between them, by
ONNX Runtime's own quantizer. Attention, norms, softmax, sigmoid and post-processing stay in single
precision, and so do the heads' layers in front of it, where rounding would show most.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from math import prod
from pathlib import Path

import onnx
from onnx import NodeProto
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from ...graphs.graph import Graph, drop_unused
from ...graphs.nodes import module_of
from ...graphs.quantize import OPERATORS, Quantizer
from ...graphs.ranges import Batch
from ...settings import Calibration
from .processors import PROCESSORS

ACTIVATIONS = 'Relu', 'Clip'  # become the range of the layer in front of them
MOVES = 'MaxPool', 'Resize'
JOINS = 'Add', 'Concat'
FEWEST_CHANNELS = 4  # of the input of a convolution, that is faster in eight bits
LIGHT = 2**19  # weights: a layer with fewer in front of post-processing takes little time


class ChainQuantizer(Quantizer):
    """Quantizes chains of layers; see :class:`~...graphs.quantize.Quantizer`.

    Args:
        source: The float32 graph.
        batches: Inputs of the graph.
        calibration: Method, and the layers to leave out by parts of their names.
        processor: A key of :data:`~.processors.PROCESSORS`.
        timeout: Most seconds of a run of a batch; None for no limit.
        called: What a message about the time calls the file; default: the source.

    Raises:
        TimedOut: If a run takes longer.
        UserError: See :class:`~...graphs.quantize.Quantizer`.
    """

    symmetric = False
    unfit = 'ONNX Runtime would compute faster in int8: take fp32'

    def __init__(
        self,
        source: str | Path,
        *,
        batches: Iterable[Batch],
        calibration: Calibration,
        processor: str,
        timeout: float | None = None,
        called: Path | None = None,
    ) -> None:
        self.processor = PROCESSORS[processor]
        super().__init__(
            source, batches=batches, calibration=calibration, timeout=timeout, called=called
        )

    def fit(self, layers: Sequence[NodeProto]) -> list[NodeProto]:
        """Those that are faster in eight bits, or at the cost of no accuracy that matters."""
        graph = Graph(self.model)
        return [
            node for node in layers if not (_sees_colours(graph, node) or _decides(graph, node))
        ]

    def tensors(self) -> set[str]:
        """Names of what goes into the chains' nodes and comes out of them."""
        nodes = chains(self.model, self.layers)
        return {name for node in nodes for name in (*node.input, *node.output)}

    def quantized(self, layers: Sequence[NodeProto]) -> onnx.ModelProto:
        """A copy of the graph with some layers, and what lies between them, in eight bits."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=self.processor.seven_bits,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8 if self.processor.signed else QuantType.QUInt8,
            tensors_range=self.ranges.tensors,
            nodes_to_quantize=[node.name for node in chains(self.model, layers)],
            nodes_to_exclude=[],
            op_types_to_quantize=[*OPERATORS, *ACTIVATIONS, *MOVES, *JOINS, 'Mul'],
            # A product of matrices returns single precision at no cost, a convolution does not.
            extra_options=dict(OpTypesToExcludeOutputQuantization=['MatMul']),
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        result = onnx.ModelProto()
        result.CopyFrom(self.model)
        result.graph.CopyFrom(quantizer.model.model.graph)
        del result.graph.value_info[:]
        drop_unused(result.graph)
        return result


def chains(model: onnx.ModelProto, layers: Sequence[NodeProto]) -> list[NodeProto]:
    """Returns the layers and the nodes between them that eight bits can go through, in order.

    Args:
        model: The float32 graph.
        layers: Those of its layers that are quantized.
    """
    graph = Graph(model)
    names = {node.name for node in layers}
    taken = []
    rounded: set[str] = set()
    for node in model.graph.node:
        if node.name in names or _passes(graph, node, rounded):
            taken.append(node)
            if node.op_type != 'MatMul':
                rounded.update(node.output)
    return list(_between(taken, names))[::-1]


def _passes(graph: Graph, node: NodeProto, rounded: Collection[str]) -> bool:
    """Whether a node that is no layer computes in eight bits what is in eight bits anyway."""
    if node.op_type in (*ACTIVATIONS, *MOVES):
        return node.input[0] in rounded
    if node.op_type in JOINS:
        return all(name in rounded for name in node.input)
    if node.op_type == 'Mul':  # squeeze and excite
        return any(name in rounded for name in node.input) and all(
            graph.constant(name) is None for name in node.input
        )
    return False


def _between(nodes: Sequence[NodeProto], layers: Collection[str]) -> Iterator[NodeProto]:
    """Yields, from the last to the first, those that are layers or have one behind them."""
    needed: set[str] = set()
    for node in reversed(nodes):
        if node.name in layers or node.op_type in ACTIVATIONS or needed & set(node.output):
            needed.update(node.input)
            yield node


def _sees_colours(graph: Graph, node: NodeProto) -> bool:
    """Whether a layer is a convolution of so few channels as an image has."""
    channels = graph.initializers[node.input[1]].dims[1]
    groups = next((each.i for each in node.attribute if each.name == 'group'), 1)
    return node.op_type == 'Conv' and channels * groups < FEWEST_CHANNELS


def _decides(graph: Graph, node: NodeProto) -> bool:
    """Whether a layer is a light one of a head, whose output nodes of modules do not take."""
    module = module_of(node.name)
    takers = [each for each in graph.nodes if node.output[0] in each.input]
    size = prod(graph.initializers[node.input[1]].dims)
    return (
        size < LIGHT
        and bool(module)
        and module[0].endswith('head')
        and not any(module_of(each.name) for each in takers)
    )
