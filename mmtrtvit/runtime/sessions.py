"""ONNX Runtime, TensorRT or a Triton server behind one interface: arrays in, arrays out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import UserError

Arrays = Mapping[str, np.ndarray]
ENGINES = '.engine', '.plan', '.trt'


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: Its name.
        shape: Its sides; None where any will do.
        dtype: What it holds.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class Profile:
    """Shapes of the input ``input`` that a graph takes.

    Attributes:
        least: The smallest.
        most: The largest, None where there is no limit.
    """

    least: tuple[int, ...]
    most: tuple[int | None, ...]


class Session(Protocol):
    """A loaded graph; threads may share it.

    Attributes:
        inputs: The inputs.
        outputs: The outputs.
        profiles: The shapes of pictures that it takes, one or several ranges.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profiles: tuple[Profile, ...]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the graph once, on contiguous arrays of the right types."""


class OnnxSession:
    """An ONNX file in ONNX Runtime.

    Args:
        path: The file.
        device: ``'cpu'``, or ``'cuda:0'`` with onnxruntime-gpu.
        threads: Threads of one operator; 0 for one per core.

    Raises:
        UserError: If ONNX Runtime or the device is not there, or the file cannot be run.
    """

    def __init__(self, path: str | Path, device: str = 'cpu', threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                f'{path} needs ONNX Runtime: pip install onnxruntime ({error}).') from error
        providers: list = ['CPUExecutionProvider']
        if device != 'cpu':
            if not has_cuda():
                raise UserError(f'the device {device!r} cannot be used: this onnxruntime has no '
                                'CUDA. Install onnxruntime-gpu, or take cpu.')
            providers.insert(0, ('CUDAExecutionProvider', {
                'device_id': device_number(device), 'use_tf32': '0'}))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime has one class for each kind
            raise UserError(
                f'{path} cannot be run by ONNX Runtime: is it whole? {error}') from error
        self.inputs = tuple(map(_tensor, self._session.get_inputs()))
        self.outputs = tuple(map(_tensor, self._session.get_outputs()))
        shape = next((each.shape for each in self.inputs if each.name == 'input'), ())
        self.profiles = Profile(tuple(side or 1 for side in shape), shape),

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        values = self._session.run(None, dict(inputs))
        return dict(zip((each.name for each in self.outputs), values))


def has_cuda() -> bool:
    """Whether the installed ONNX Runtime computes on GPUs."""
    import onnxruntime

    return 'CUDAExecutionProvider' in onnxruntime.get_available_providers()


def _tensor(value: 'onnxruntime.NodeArg') -> Tensor:  # noqa: F821
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in value.shape)
    kind = value.type.removeprefix('tensor(').removesuffix(')')
    dtypes = {'float': 'float32', 'double': 'float64', 'string': 'object', 'bfloat16': 'uint16'}
    try:
        return Tensor(value.name, shape, np.dtype(dtypes.get(kind, kind)))
    except TypeError:  # a sequence, a map, or of 8 bits or fewer
        return Tensor(value.name, shape, np.dtype(object))


def device_number(device: str) -> int:
    """Number of a GPU written as ``cuda:0`` or ``cuda``.

    Raises:
        UserError: If it is written in another way.
    """
    kind, _, number = device.partition(':')
    if kind != 'cuda' or not (number or '0').isdecimal():
        raise UserError(
            f'the device is {device!r}, expected cuda or cuda:0, or cpu for an ONNX file.')
    return int(number or 0)


def open_session(path: str | Path, device: str | None = None, threads: int = 0) -> Session:
    """Loads a graph by the suffix of its file.

    Args:
        path: An ``.onnx`` file or a TensorRT engine.
        device: ``'cpu'`` or ``'cuda:0'``; default: the CPU for ONNX files, and the first GPU for
            engines, which run on no CPU.
        threads: Threads of one operator on the CPU; 0 for one per core.

    Raises:
        UserError: If it cannot be loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f'there is no model {path}. Copy the whole work dir that tools/deploy.py wrote.')
    if path.suffix in ENGINES:
        from .engines import EngineSession

        return EngineSession(path, device_number(device or 'cuda:0'))
    if path.suffix != '.onnx':
        raise UserError(f'{path} is no model by its name, expected *.onnx, *{", *".join(ENGINES)}.')
    return OnnxSession(path, device or 'cpu', threads)


def require(
    tensors: Sequence[Tensor], expected: Sequence[str], what: str, source: str | Path
) -> None:
    """Refuses a graph that lacks inputs or outputs.

    Raises:
        UserError: With what it has and what it should have.
    """
    names = [tensor.name for tensor in tensors]
    if missing := [name for name in expected if name not in names]:
        raise UserError(
            f'{source} has the {what} {", ".join(names)}, but not {", ".join(missing)}. Expected a '
            'graph that tools/deploy.py wrote.')
