"""Ranges of a graph's tensors over batches of inputs, by ONNX Runtime's calibraters."""

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime import InferenceSession
from onnxruntime.quantization.calibrate import (
    CalibraterBase,
    CalibrationDataReader,
    EntropyCalibrater,
    MinMaxCalibrater,
    PercentileCalibrater,
    TensorsData,
)

from ...errors import UserError
from ...runtime.sessions.base import TimedOut
from ...runtime.sessions.onnx import run_within
from ..settings import ENTROPY, MINMAX, PERCENTILE

CALIBRATERS: dict[str, type[CalibraterBase]] = {
    MINMAX: MinMaxCalibrater,
    ENTROPY: EntropyCalibrater,
    PERCENTILE: PercentileCalibrater,
}
KEPT = 8  # batches that show which layers suffer most

Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Ranges:
    """What batches of inputs showed.

    Attributes:
        tensors: Least and largest value by name of the tensor, as ONNX Runtime's quantizer takes
            them.
        batches: The first of the batches.
        count: How many there were.
    """

    tensors: TensorsData
    batches: Sequence[Batch]
    count: int


@dataclass(frozen=True)
class Limit:
    """How long a run of a session may take.

    Attributes:
        seconds: None for no limit.
        path: The file that is made, for the message.
    """

    seconds: float | None
    path: Path

    def on(self, session: InferenceSession) -> 'LimitedSession':
        """The session with this limit."""
        return LimitedSession(session, self)


class LimitedSession:
    """A session of ONNX Runtime, as calibraters use it, whose runs are stopped when they take long.

    Args:
        session: What to run.
        limit: How long a run may take.
    """

    def __init__(self, session: InferenceSession, limit: Limit) -> None:
        self._session, self._limit = session, limit
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, names: Sequence[str] | None, inputs: Batch) -> list[np.ndarray]:
        """Values of the named outputs, or of all."""
        return run_within(self._limit.seconds, self._session, names, inputs, self._limit.path)


def find_ranges(
    model: onnx.ModelProto,
    names: Collection[str],
    batches: Iterable[Batch],
    *,
    method: str,
    limit: Limit,
    symmetric: bool = True,
) -> Ranges:
    """Runs a graph on one batch after the other, so that memory does not grow with their number.

    Args:
        model: The float32 graph.
        names: The tensors.
        batches: Inputs of the graph; names that it does not have are ignored.
        method: A key of :data:`CALIBRATERS`.
        limit: For a run of a batch.
        symmetric: Whether a range reaches as far below zero as above.

    Raises:
        TimedOut: If a run takes longer.
        UserError: If a batch does not fit the graph, there is none, or a value is not finite.
    """
    if method not in CALIBRATERS:
        raise UserError(
            f'calib_config.method is {method!r}, expected one of: {", ".join(CALIBRATERS)}.'
        )
    inputs = {value.name for value in model.graph.input}
    kept: list[Batch] = []
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        calibrater = _calibrater(model, names, method, Path(folder), symmetric)
        calibrater.infer_session = limit.on(calibrater.infer_session)
        for count, batch in enumerate(batches, start=1):
            feeds = {name: value for name, value in batch.items() if name in inputs}
            if count <= KEPT:
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
    return Ranges(ranges, kept, count)


def _calibrater(
    model: onnx.ModelProto, names: Collection[str], method: str, folder: Path, symmetric: bool
) -> CalibraterBase:
    """A calibrater that looks at no other tensors, which would cost time and memory."""
    calibraters: Any = CALIBRATERS

    class Chosen(calibraters[method]):
        def select_tensors_to_calibrate(self, model: onnx.ModelProto) -> tuple[set, dict]:
            tensors, infos = super().select_tensors_to_calibrate(model)
            return tensors & set(names), infos

    path = folder / 'model.onnx'
    onnx.save(model, path)
    calibrater = Chosen(
        path, augmented_model_path=str(folder / 'augmented.onnx'), symmetric=symmetric
    )
    calibrater.augment_graph()
    calibrater.create_inference_session()
    return calibrater


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
