"""Quantization to INT8 or FP8: QuantizeLinear and DequantizeLinear, ranges by ONNX Runtime.

Only layers with stored weights are quantized: convolutions and linear layers of the backbone, the
neck and the heads. Their inputs get one range for a tensor, their weights one for each channel in
INT8, all symmetric, as TensorRT requires. The rest of the graph does not change, so post-processing
stays as exact as it was.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from onnxruntime.quantization.calibrate import (
    CalibraterBase,
    CalibrationDataReader,
    EntropyCalibrater,
    MinMaxCalibrater,
    PercentileCalibrater,
    TensorsData,
)

from ...errors import UserError, did_you_mean
from ...files import whole_file
from ...runtime.sessions.base import TimedOut
from ...runtime.sessions.onnx import run_within
from ..settings import ENTROPY, MINMAX, PERCENTILE, Calibration
from .formats import INT8, NumberFormat
from .graph import drop_unused, load_onnx
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
    """What eight bits do to a layer alone.

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
    kind: NumberFormat = INT8,
    timeout: float | None = None,
) -> Quantization:
    """Writes a copy of a float32 graph in eight bits; the file appears when it is whole.

    One batch after the other goes through the graph, so memory does not grow with their number.

    Args:
        source: The float32 graph.
        target: The file to write.
        batches: Inputs of the graph; wrap them in tqdm to see how far it is. Names that the graph
            does not have are ignored.
        calibration: Method, and the layers to leave out by parts of their names.
        exclude_worst: How many layers to leave out besides, the noisiest by :func:`sensitivity`.
        float_weights: Store weights as float32, followed by QuantizeLinear and DequantizeLinear, as
            TensorRT before 10 needs them. Otherwise they are of eight bits and take a quarter of
            the space.
        kind: The format of eight bits.
        timeout: Most seconds of a run of a batch; None for no limit.

    Raises:
        TimedOut: If a run takes longer.
        UserError: If the graph has no layer to quantize or is not float32, a batch does not fit it,
            there is no batch, or no layer has a name to leave out.
    """
    target = Path(target)
    model = _read(source)
    layers = quantizable_layers(model)
    chosen = _without(layers, calibration.exclude, source)
    chosen = _taken(model, chosen, kind, source)
    limit = partial(_Limited, seconds=timeout, path=target)
    with tempfile.TemporaryDirectory() as folder, whole_file(target) as part:
        ranges, kept, count = _ranges(
            model, chosen, batches, calibration.method, Path(folder), limit
        )
        if exclude_worst:
            quantized = _quantized(model, chosen, ranges, kind, float_weights=False)
            errors = _layer_errors(model, quantized, chosen, kept, limit)
            worst = {error.layer for error in errors[:exclude_worst]}
            chosen = [node for node in chosen if node.name not in worst]
        quantized = _quantized(model, chosen, ranges, kind, float_weights)
        known = {each.key: each.value for each in model.metadata_props}
        add_metadata(quantized, known | dict(precision=kind.precision))
        onnx.save(quantized, part)
    names = tuple(node.name for node in chosen)
    left_out = tuple(node.name for node in layers if node.name not in names)
    return Quantization(target, target.stat().st_size / 1e6, count, names, left_out)


def sensitivity(
    source: str | Path,
    batches: Iterable[Batch],
    calibration: Calibration,
    kind: NumberFormat = INT8,
) -> list[LayerError]:
    """Measures how much noise eight bits add to each layer's output, if its input has none.

    Args:
        source: The float32 graph.
        batches: Inputs of the graph; all show the ranges, the first 8 the noise.
        calibration: As for :func:`quantize`.
        kind: The format of eight bits.

    Returns:
        One row per layer, the noisiest first.

    Raises:
        UserError: See :func:`quantize`.
    """
    model = _read(source)
    chosen = _without(quantizable_layers(model), calibration.exclude, source)
    chosen = _taken(model, chosen, kind, source)
    limit = partial(_Limited, seconds=None, path=Path(source))
    with tempfile.TemporaryDirectory() as folder:
        ranges, kept, _ = _ranges(model, chosen, batches, calibration.method, Path(folder), limit)
        quantized = _quantized(model, chosen, ranges, kind, float_weights=False)
    return _layer_errors(model, quantized, chosen, kept, limit)


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


def _taken(
    model: onnx.ModelProto,
    layers: Sequence[onnx.NodeProto],
    kind: NumberFormat,
    source: str | Path,
) -> list[onnx.NodeProto]:
    """Those of the layers that the format is good for."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    chosen = [node for node in layers if kind.takes(node, shapes[node.input[1]])]
    if not chosen:
        raise UserError(
            f'{source} has no layer that TensorRT would compute in {kind.precision}: take int8.'
        )
    return chosen


def _ranges(
    model: onnx.ModelProto,
    layers: Sequence[onnx.NodeProto],
    batches: Iterable[Batch],
    method: str,
    folder: Path,
    limit: 'Callable[[InferenceSession], _Limited]',
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
    calibrater.infer_session = limit(calibrater.infer_session)
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
        raise UserError('there is no image to calibrate with.')
    ranges = calibrater.compute_data()
    for name, data in ranges.items():
        if not np.isfinite(data.range_value).all():
            raise UserError(
                f'{name} is infinite or NaN on the calibration images. '
                'Check the weights and the images.'
            )
    return ranges, kept, count


class _Limited:
    """A session of ONNX Runtime, as calibraters use it, whose runs are stopped when they take long.

    Args:
        session: What to run.
        seconds: How long a run may take; None for no limit.
        path: The file that is made, for the message.
    """

    def __init__(self, session: InferenceSession, seconds: float | None, path: Path) -> None:
        self._session, self._seconds, self._path = session, seconds, path
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, names: Sequence[str] | None, inputs: Batch) -> list[np.ndarray]:
        """Values of the named outputs, or of all."""
        return run_within(self._seconds, self._session, names, inputs, self._path)


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
    except TimedOut as error:
        raise TimedOut(f'{what}: {error}') from error
    except Exception as error:  # ONNX Runtime's errors share no class
        raise UserError(f'{what} does not go through the graph: {error}') from error


def _quantized(
    model: onnx.ModelProto,
    layers: Sequence[onnx.NodeProto],
    ranges: TensorsData,
    kind: NumberFormat,
    float_weights: bool,
) -> onnx.ModelProto:
    """A copy with QuantizeLinear and DequantizeLinear in front of the layers, and nowhere else."""
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


def _layer_errors(
    model: onnx.ModelProto,
    quantized: onnx.ModelProto,
    layers: Sequence[onnx.NodeProto],
    batches: Sequence[Batch],
    limit: 'Callable[[InferenceSession], _Limited]',
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
    session = limit(InferenceSession(twins.SerializeToString()))
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
