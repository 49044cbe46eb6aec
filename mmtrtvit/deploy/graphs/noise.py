"""Noise of eight bits: what they do to each layer alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime import InferenceSession

from .ranges import Batch, Limit


@dataclass(frozen=True)
class LayerError:
    """What eight bits do to a layer alone.

    Attributes:
        layer: Name of its node.
        operator: Conv, Gemm or MatMul.
        decibels: Signal of its output over the noise of quantization. 6 dB are one bit.
    """

    layer: str
    operator: str
    decibels: float


def layer_errors(
    model: onnx.ModelProto,
    quantized: onnx.ModelProto,
    layers: Sequence[onnx.NodeProto],
    batches: Sequence[Batch],
    limit: Limit,
) -> list[LayerError]:
    """Runs each quantized layer beside the float one, on the float one's input, in one graph.

    Args:
        model: The float32 graph.
        quantized: The same with quantized layers, of the same names; it is changed.
        layers: Nodes of ``model``.
        batches: Inputs.
        limit: For a run of a batch.

    Returns:
        One row per layer, the noisiest first.
    """
    graph = quantized.graph
    originals = {node.name: node for node in layers}
    stored = {tensor.name for tensor in graph.initializer}
    graph.initializer.extend(
        tensor for tensor in model.graph.initializer if tensor.name not in stored
    )
    nodes, rows, sums = [], [], []
    for node in graph.node:
        original = originals.get(node.name)
        nodes.append(node)
        if original is None:
            continue
        rows.append(original)
        exact, noisy = original.output[0], f'{original.output[0]}/quantized'
        node.name, node.output[0] = f'{node.name}/quantized', noisy
        nodes += [
            original,
            helper.make_node('Sub', [exact, noisy], [f'{noisy}/error']),
            helper.make_node('ReduceSumSquare', [exact], [f'{noisy}/signal']),
            helper.make_node('ReduceSumSquare', [f'{noisy}/error'], [f'{noisy}/noise']),
        ]
        sums += [f'{noisy}/signal', f'{noisy}/noise']
    twins = helper.make_graph(
        nodes,
        graph.name,
        graph.input,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sums],
        graph.initializer,
    )
    twins = helper.make_model(
        twins, opset_imports=quantized.opset_import, ir_version=quantized.ir_version
    )
    session = limit.on(InferenceSession(twins.SerializeToString()))
    totals = np.sum(
        [
            [np.sum(value, dtype=np.float64) for value in session.run(sums, batch)]
            for batch in batches
        ],
        axis=0,
    )
    signal, noise = totals.reshape(-1, 2).T
    ratio = np.divide(signal, noise, out=np.full_like(signal, np.inf), where=noise > 0)
    with np.errstate(divide='ignore'):
        decibels = 10 * np.log10(ratio)
    errors = [
        LayerError(node.name, node.op_type, float(value)) for node, value in zip(rows, decibels)
    ]
    return sorted(errors, key=lambda error: error.decibels)
