"""Quantization to INT8 or FP8: which layers, with which ranges, into which file.

Only layers with stored weights are quantized: convolutions and linear layers of the backbone, the
neck and the heads. How they are written is for each backend to say; :class:`Quantizer` writes what
TensorRT takes.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx
from onnx import TensorProto

from ...errors import UserError, did_you_mean
from ...files import whole_file
from ..settings import Calibration
from .formats import INT8, NumberFormat
from .graph import load_onnx
from .noise import LayerError, layer_errors
from .pairs import with_pairs
from .ranges import Batch, Limit, Ranges, find_ranges
from .slim import add_metadata

OPERATORS = 'Conv', 'Gemm', 'MatMul'


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


class Quantizer:
    """A float32 graph and the ranges of its tensors, of which files in eight bits are written.

    One batch after the other goes through the graph, so memory does not grow with their number.

    Args:
        source: The float32 graph.
        batches: Inputs of the graph; wrap them in tqdm to see how far it is. Names that the graph
            does not have are ignored.
        calibration: Method, and the layers to leave out by parts of their names.
        kind: The format of eight bits.
        float_weights: Store weights as float32, followed by QuantizeLinear and DequantizeLinear, as
            TensorRT before 10 needs them. Otherwise they are of eight bits and take a quarter of
            the space.
        timeout: Most seconds of a run of a batch; None for no limit.
        called: What a message about the time calls the file; default: the source.

    Attributes:
        layers: The layers that it quantizes, in the graph's order.

    Raises:
        TimedOut: If a run takes longer.
        UserError: If the graph has no layer to quantize or is not float32, a batch does not fit it,
            there is no batch, or no layer has a name to leave out.
    """

    symmetric = True  # ranges reach as far below zero as above
    unfit = 'TensorRT would compute in {}: take int8'

    def __init__(
        self,
        source: str | Path,
        *,
        batches: Iterable[Batch],
        calibration: Calibration,
        kind: NumberFormat = INT8,
        float_weights: bool = False,
        timeout: float | None = None,
        called: Path | None = None,
    ) -> None:
        self.model = _read(source)
        self.kind, self.float_weights = kind, float_weights
        self._all = quantizable_layers(self.model)
        named = _without(self._all, calibration.exclude, source)
        self.layers = self.fit(named)
        if not self.layers:
            raise UserError(f'{source} has no layer that {self.unfit.format(kind.precision)}.')
        self._limit = Limit(timeout, called or Path(source))
        self.ranges: Ranges = find_ranges(
            self.model,
            self.tensors(),
            batches,
            method=calibration.method,
            limit=self._limit,
            symmetric=self.symmetric,
        )

    def fit(self, layers: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Those of the layers that the format is good for."""
        shapes = {tensor.name: tuple(tensor.dims) for tensor in self.model.graph.initializer}
        return [node for node in layers if self.kind.takes(node, shapes[node.input[1]])]

    def tensors(self) -> set[str]:
        """Names of the tensors whose ranges are needed."""
        return {node.input[0] for node in self.layers}

    def quantized(self, layers: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
        """A copy of the graph with some of the layers in eight bits."""
        return with_pairs(self.model, layers, self.ranges.tensors, self.kind, self.float_weights)

    @cached_property
    def errors(self) -> list[LayerError]:
        """How much noise eight bits add to each layer's output, if its input has none.

        The noisiest is first. The first 8 batches show it.
        """
        pairs = with_pairs(self.model, self.layers, self.ranges.tensors, self.kind)
        return layer_errors(self.model, pairs, self.layers, self.ranges.batches, self._limit)

    def noisiest(self, count: int) -> set[str]:
        """Names of so many layers, the noisiest."""
        return {error.layer for error in self.errors[:count]} if count else set()

    def write(self, target: str | Path, left_out: Collection[str] = ()) -> Quantization:
        """Writes the graph in eight bits; the file appears when it is whole.

        Args:
            target: The file.
            left_out: Names of layers that stay as they are.

        Raises:
            UserError: If that leaves none.
        """
        target = Path(target)
        chosen = [node for node in self.layers if node.name not in left_out]
        if not chosen:
            raise UserError(
                f'calib_config leaves none of {len(self.layers)} layers to quantize: take a '
                'smaller exclude_worst.'
            )
        with whole_file(target) as part:
            quantized = self.quantized(chosen)
            known = {each.key: each.value for each in self.model.metadata_props}
            add_metadata(quantized, known | dict(precision=self.kind.precision))
            onnx.save(quantized, part)
        names = tuple(node.name for node in chosen)
        others = tuple(node.name for node in self._all if node.name not in names)
        return Quantization(target, target.stat().st_size / 1e6, self.ranges.count, names, others)


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

    Args:
        source: The float32 graph.
        target: The file to write.
        batches: As for :class:`Quantizer`.
        calibration: As for :class:`Quantizer`.
        exclude_worst: How many layers to leave out besides, the noisiest by :func:`sensitivity`.
        float_weights: As for :class:`Quantizer`.
        kind: The format of eight bits.
        timeout: Most seconds of a run of a batch; None for no limit.

    Raises:
        TimedOut: If a run takes longer.
        UserError: See :class:`Quantizer`.
    """
    quantizer = Quantizer(
        source,
        batches=batches,
        calibration=calibration,
        kind=kind,
        float_weights=float_weights,
        timeout=timeout,
        called=Path(target),
    )
    return quantizer.write(target, quantizer.noisiest(exclude_worst))


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
        calibration: As for :class:`Quantizer`.
        kind: The format of eight bits.

    Returns:
        One row per layer, the noisiest first.

    Raises:
        UserError: See :class:`Quantizer`.
    """
    return Quantizer(source, batches=batches, calibration=calibration, kind=kind).errors


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
