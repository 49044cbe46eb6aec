"""Quantization to INT8: QuantizeLinear and DequantizeLinear, by ONNX Runtime's quantizer.

Only layers with stored weights are quantized: convolutions and linear layers of the backbone, the
neck and the heads. Their inputs get one range for a tensor, their weights one for each channel, all
symmetric, as TensorRT requires. The rest of the graph does not change, so post-processing stays as
exact as it was.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime import InferenceSession
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import (
    CalibraterBase,
    CalibrationDataReader,
    EntropyCalibrater,
    MinMaxCalibrater,
    PercentileCalibrater,
    TensorsData,
)
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

from ...errors import UserError, did_you_mean
from ...files import whole_file
from ..settings import ENTROPY, MINMAX, PERCENTILE, Calibration
from .graph import load_onnx
from .slim import add_metadata

OPERATORS = 'Conv', 'Gemm', 'MatMul'
CALIBRATERS: dict[str, type[CalibraterBase]] = {
    MINMAX: MinMaxCalibrater,
    ENTROPY: EntropyCalibrater,
    PERCENTILE: PercentileCalibrater,
}
MEASURED = 8  # batches that show which layers suffer most

Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LayerError:
    """What INT8 does to a layer alone.

    Attributes:
        layer: Name of its node.
        operator: Conv, Gemm or MatMul.
        decibels: Signal of its output over the noise of quantization. 6 dB are one bit.
    """

    layer: str
    operator: str
    decibels: float


@dataclass(frozen=True)
class Quantization:
    """What was quantized.

    Attributes:
        path: The file.
        megabytes: Its size.
        batches: How many showed the ranges.
        layers: Names of the quantized nodes.
        left_out: Names of those that could be, but stay in float32.
    """

    path: Path
    megabytes: float
    batches: int
    layers: tuple[str, ...]
    left_out: tuple[str, ...]


def quantize(
    source: str | Path,
    target: str | Path,
    *,
    batches: Iterable[Batch],
    calibration: Calibration,
    exclude_worst: int = 0,
    float_weights: bool = False,
) -> Quantization:
    """Writes an INT8 copy of a float32 graph; the file appears when it is whole.

    One batch after the other goes through the graph, so memory does not grow with their number.

    Args:
        source: The float32 graph.
        target: The file to write.
        batches: Inputs of the graph; wrap them in tqdm to see how far it is. Names that the graph
            does not have are ignored.
        calibration: Method, and the layers to leave out by parts of their names.
        exclude_worst: How many layers to leave out besides, the noisiest by :func:`sensitivity`.
        float_weights: Store weights as float32, followed by QuantizeLinear and DequantizeLinear, as
            TensorRT before 10 needs them. Otherwise they are int8 and take a quarter of the space.

    Raises:
        UserError: If the graph has no layer to quantize or is not float32, a batch does not fit it,
            there is no batch, or no layer has a name to leave out.
    """
    target = Path(target)
    model = _read(source)
    layers = quantizable_layers(model)
    chosen = _without(layers, calibration.exclude, source)
    with tempfile.TemporaryDirectory() as folder, whole_file(target) as part:
        ranges, kept, count = _ranges(model, chosen, batches, calibration.method, Path(folder))
        if exclude_worst:
            quantized = _quantized(model, chosen, ranges, Path(folder), float_weights=False)
            errors = _layer_errors(model, quantized, chosen, kept)
            worst = {error.layer for error in errors[:exclude_worst]}
            chosen = [node for node in chosen if node.name not in worst]
        quantized = _quantized(model, chosen, ranges, Path(folder), float_weights)
        add_metadata(quantized, {each.key: each.value for each in model.metadata_props})
        onnx.save(quantized, part)
    names = tuple(node.name for node in chosen)
    left_out = tuple(node.name for node in layers if node.name not in names)
    return Quantization(target, target.stat().st_size / 1e6, count, names, left_out)


def sensitivity(
    source: str | Path, batches: Iterable[Batch], calibration: Calibration
) -> list[LayerError]:
    """Measures how much noise INT8 adds to each layer's output, if its input has none.

    Args:
        source: The float32 graph.
        batches: Inputs of the graph; all show the ranges, the first 8 the noise.
        calibration: As for :func:`quantize`.

    Returns:
        One row per layer, the noisiest first.

    Raises:
        UserError: See :func:`quantize`.
    """
    model = _read(source)
    chosen = _without(quantizable_layers(model), calibration.exclude, source)
    with tempfile.TemporaryDirectory() as folder:
        ranges, kept, _ = _ranges(model, chosen, batches, calibration.method, Path(folder))
        quantized = _quantized(model, chosen, ranges, Path(folder), float_weights=False)
    return _layer_errors(model, quantized, chosen, kept)


def quantizable_layers(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Returns convolutions and matrix products with stored float32 weights, in the graph's order.

    Post-processing has none. Products of two activations, as in attention, do not count. Neither do
    stacks of matrices: they have no channels that ONNX Runtime could give a range each.
    """
    stored = {
        tensor.name: len(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) >= 2
    }
    return [
        node
        for node in model.graph.node
        if node.op_type in OPERATORS
        and node.input[1] in stored
        and node.input[0] not in stored
        and (node.op_type != 'MatMul' or stored[node.input[1]] == 2)
    ]


def _read(source: str | Path) -> onnx.ModelProto:
    model = load_onnx(source)
    if any(node.op_type == 'QuantizeLinear' for node in model.graph.node):
        raise UserError(f'{source} is quantized already. Quantize the float32 file.')
    if not quantizable_layers(model):
        raise UserError(
            f'{source} has no layer with float32 weights to quantize. Export with fp32 first.'
        )
    return model


def _without(
    layers: Sequence[onnx.NodeProto], parts: Sequence[str], source: str | Path
) -> list[onnx.NodeProto]:
    names = [node.name for node in layers]
    for part in parts:
        if not any(part in name for name in names):
            pieces = {piece for name in names for piece in name.split('/')}
            raise UserError(
                f'calib_config.exclude: no layer of {source} has {part!r} in its name.'
                f'{did_you_mean(part, pieces)} The first is {names[0]}, the last {names[-1]}.'
            )
    chosen = [node for node in layers if not any(part in node.name for part in parts)]
    if not chosen:
        raise UserError('calib_config.exclude leaves no layer to quantize.')
    return chosen


def _ranges(
    model: onnx.ModelProto,
    layers: Sequence[onnx.NodeProto],
    batches: Iterable[Batch],
    method: str,
    folder: Path,
) -> tuple[TensorsData, list[Batch], int]:
    """Ranges of the layers' inputs, the first batches, and the number of batches."""
    if method not in CALIBRATERS:
        raise UserError(
            f'calib_config.method is {method!r}, expected one of: {", ".join(CALIBRATERS)}.'
        )
    path = folder / 'model.onnx'
    onnx.save(model, path)
    inputs = {node.input[0] for node in layers}

    calibraters: Any = CALIBRATERS

    class LayerInputs(calibraters[method]):
        """Looks at no other tensors, which would cost time and memory."""

        def select_tensors_to_calibrate(self, model: onnx.ModelProto) -> tuple[set, dict]:
            tensors, infos = super().select_tensors_to_calibrate(model)
            return tensors & inputs, infos

    calibrater = LayerInputs(
        path, augmented_model_path=str(folder / 'augmented.onnx'), symmetric=True
    )
    calibrater.augment_graph()
    calibrater.create_inference_session()
    names = {value.name for value in model.graph.input}
    kept: list[Batch] = []
    count = 0
    for count, batch in enumerate(batches, start=1):
        feeds = {name: value for name, value in batch.items() if name in names}
        if count <= MEASURED:
            kept.append(feeds)
        with _named(f'calibration batch {count}'):
            calibrater.collect_data(_OneBatch(feeds))
    if not count:
        raise UserError('there is no image to calibrate INT8 with.')
    ranges = calibrater.compute_data()
    for name, data in ranges.items():
        if not np.isfinite(data.range_value).all():
            raise UserError(
                f'{name} is infinite or NaN on the calibration images. '
                'Check the weights and the images.'
            )
    return ranges, kept, count


class _OneBatch(CalibrationDataReader):
    """A calibrater keeps what it saw until its reader ends: one batch is all that it may keep."""

    def __init__(self, batch: Batch) -> None:
        self.batches = [dict(batch)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.batches.pop() if self.batches else None


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ONNX Runtime's errors share no class
        raise UserError(f'{what} does not go through the graph: {error}') from error


def _quantized(
    model: onnx.ModelProto,
    layers: Sequence[onnx.NodeProto],
    ranges: TensorsData,
    folder: Path,
    float_weights: bool,
) -> onnx.ModelProto:
    path = folder / 'model.onnx'
    onnx.save(model, path)
    quantizer = QDQQuantizer(
        load_model_with_shape_infer(path),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=[node.name for node in layers],
        nodes_to_exclude=[],
        op_types_to_quantize=list(OPERATORS),
        extra_options=dict(
            ActivationSymmetric=True,
            WeightSymmetric=True,
            QuantizeBias=False,
            AddQDQPairToWeight=float_weights,
            DedicatedQDQPair=float_weights,
            OpTypesToExcludeOutputQuantization=list(OPERATORS),
        ),
    )
    quantizer.quantize_model()
    quantized = quantizer.model.model
    del quantized.graph.value_info[:]
    _restore_other_inputs(quantized.graph, {node.name for node in layers})
    quantizer.model.topological_sort()  # the pairs were put behind the layers that they feed
    return quantized


def _restore_other_inputs(graph: onnx.GraphProto, layers: set[str]) -> None:
    """Gives float tensors back to nodes that take the same tensors as quantized layers.

    ONNX Runtime sends rounded values to all of them: to residual sums and to post-processing.
    """
    origins = {}
    quantized_from = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == 'QuantizeLinear'
    }
    for node in graph.node:
        if node.op_type == 'DequantizeLinear':
            origins[node.output[0]] = quantized_from.get(node.input[0])
    for node in graph.node:
        if node.name not in layers:
            for index, name in enumerate(node.input):
                if origins.get(name):
                    node.input[index] = origins[name]


def _layer_errors(
    model: onnx.ModelProto,
    quantized: onnx.ModelProto,
    layers: Sequence[onnx.NodeProto],
    batches: Sequence[Batch],
) -> list[LayerError]:
    """Runs each quantized layer beside the float one, on the float one's input, in one graph."""
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
    session = InferenceSession(twins.SerializeToString())
    totals = np.sum(
        [
            [np.sum(value, dtype=np.float64) for value in session.run(sums, dict(batch))]
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
