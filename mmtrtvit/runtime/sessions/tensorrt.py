"""TensorRT engines, with the part of its Python API that versions 8.6, 10 and 11 share."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from ...errors import UserError
from .base import Arrays, Profiles, ShapeLimits, Tensor, checked
from .cuda_memory import CudaMemory
from .tensorrt_package import create, import_tensorrt, make_logger

DTYPES = dict(
    FLOAT='float32',
    HALF='float16',
    BF16='bfloat16',
    INT32='int32',
    INT64='int64',
    BOOL='bool',
    UINT8='uint8',
    INT8='int8',
)  # TensorRT's names and ours; not every version has all of them

# Words of TensorRT's errors, and what they mean.
REASONS = {
    'incompatible device': 'It was built for another GPU.',
    'library version': 'It was built by another version of TensorRT.',
    'ersion tag': 'It was built by another version of TensorRT.',
    'magicTag': 'The file is damaged, or no engine.',
}


class Memory(Protocol):
    """Memory of a GPU with a stream of work on it; one run at a time uses it.

    Attributes:
        gpu: What the GPU is called, for messages.
        stream: Handle of the stream.
    """

    gpu: str
    stream: int

    def active(self) -> AbstractContextManager[None]:
        """Selects GPU and stream for everything inside, and waits for the stream at the end."""

    def host_dtype(self, dtype: str) -> np.dtype | None:
        """Type of the arrays that stand for a tensor on the host; None if there can be none."""

    def write(self, name: str, value: np.ndarray, dtype: str) -> int:
        """Copies an array to the GPU as a tensor of that type, and returns its address.

        The array must live, unchanged, until the stream is done.
        """

    def reserve(self, name: str, shape: Sequence[int], dtype: str) -> int:
        """Makes room for a tensor on the GPU, and returns its address."""

    def read(self, name: str) -> np.ndarray:
        """Returns an array that holds the tensor once the stream is done."""


class TensorRTSession:
    """A TensorRT engine on one GPU. An engine is code: load none that you do not trust.

    Calls of several threads run one after the other: an execution context takes one at a time.

    Args:
        path: The engine.
        memory: Memory of the GPU to run on; default: cuda-python's of the first one.

    Raises:
        NoTensorRT: If TensorRT is not installed.
        UserError: If cuda-python or the GPU is not there, or the engine is broken, was built by
            another version or for another GPU, or has a tensor of a type that cannot be used.
    """

    backend = 'tensorrt'

    def __init__(self, path: str | Path, memory: Memory | None = None) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise UserError(f'there is no file {path}.')
        self._trt = import_tensorrt()
        self._memory = memory or CudaMemory()
        self._logger = make_logger(self._trt)
        self._trt.init_libnvinfer_plugins(self._logger, '')
        with self._memory.active():
            self._runtime = create(self._trt.Runtime, self._logger)  # the engine needs it
            self._runtime.engine_host_code_allowed = True  # version-compatible engines have some
            self._engine = self._runtime.deserialize_cuda_engine(self._path.read_bytes())
            if self._engine is None:
                raise UserError(self._refused())
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise UserError(self._failed('could not prepare a run'))
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        given = {name for name in names if self._is_input(name)}
        self._dtypes: dict[str, str] = {}
        tensors = [self._tensor(name) for name in names]
        self.inputs = tuple(each for each in tensors if each.name in given)
        self.outputs = tuple(each for each in tensors if each.name not in given)
        self.profiles: Profiles = tuple(
            {each.name: self._limits(each.name, index) for each in self.inputs}
            for index in range(self._engine.num_optimization_profiles)
        )
        self._lock = Lock()

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the engine once.

        Raises:
            UserError: If an input is missing, has another type or a shape outside of all profiles,
                or TensorRT fails.
        """
        values = checked(self.inputs, inputs, self._path)
        with self._lock, self._memory.active():
            self._execute(self._context, values)
            return {each.name: self._memory.read(each.name) for each in self.outputs}

    def time_layers(self, inputs: Arrays, rounds: int) -> list[dict[str, float]]:
        """Milliseconds of each layer by name, in each of several rounds."""
        times: list[dict[str, float]] = []
        trt: Any = self._trt

        class Profiler(trt.IProfiler):
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times[-1][layer_name] = times[-1].get(layer_name, 0.0) + ms

        profiler = Profiler()
        values = checked(self.inputs, inputs, self._path)
        with self._lock, self._memory.active():
            context = self._engine.create_execution_context()
            context.profiler = profiler
            for _ in range(rounds):
                times.append({})
                self._execute(context, values)
        return times

    def layers(self) -> list[dict[str, Any]]:
        """What TensorRT's inspector says of each layer: Name, Metadata and more."""
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        return [
            layer if isinstance(layer, dict) else {'Name': layer}
            for layer in json.loads(text)['Layers']
        ]

    def _execute(self, context: Any, values: Mapping[str, np.ndarray]) -> None:
        profile = self._profile_for(values)
        if context.active_optimization_profile != profile:
            context.set_optimization_profile_async(profile, self._memory.stream)
        for name, value in values.items():
            if not context.set_input_shape(name, value.shape):
                raise UserError(self._failed(f'refuses {name} of {_text(value.shape)}'))
            address = self._memory.write(name, value, self._dtypes[name])
            context.set_tensor_address(name, address)
        for each in self.outputs:
            shape = tuple(context.get_tensor_shape(each.name))
            if min(shape, default=0) < 0:
                raise UserError(
                    f'{self._path}: the shape of {each.name} depends on values, {shape}. '
                    'Graphs that tools/deploy.py writes have outputs of fixed shape.'
                )
            address = self._memory.reserve(each.name, shape, self._dtypes[each.name])
            context.set_tensor_address(each.name, address)
        if not context.execute_async_v3(self._memory.stream):
            raise UserError(self._failed('failed'))

    def _profile_for(self, values: Mapping[str, np.ndarray]) -> int:
        """The first profile that takes all inputs."""
        for index, profile in enumerate(self.profiles):
            if all(value.shape in profile[name] for name, value in values.items()):
                return index
        given = ', '.join(f'{name} {_text(value.shape)}' for name, value in values.items())
        ranges = '; '.join(
            ', '.join(
                f'{name} {_text(limits.least)} to {_text(limits.most)}'
                for name, limits in profile.items()
            )
            for profile in self.profiles
        )
        raise UserError(
            f'{self._path} takes {ranges}, but got {given}: resize the image, or '
            'build an engine with another range (backend_config.model_inputs).'
        )

    def _is_input(self, name: str) -> bool:
        return self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT

    def _tensor(self, name: str) -> Tensor:
        """Describes an input or output, and keeps its type."""
        theirs, known = self._engine.get_tensor_dtype(name), []
        for key, ours in DTYPES.items():
            host = self._memory.host_dtype(ours)
            if host is None:
                continue
            known.append(key)
            if theirs == getattr(self._trt.DataType, key, None):
                self._dtypes[name] = ours
                shape = self._engine.get_tensor_shape(name)
                return Tensor(name, tuple(side if side >= 0 else None for side in shape), host)
        raise UserError(
            f'{self._path}: {name} is of {theirs.name}, expected one of {", ".join(known)}. '
            'Export a model whose inputs and outputs have such a type.'
        )

    def _limits(self, name: str, profile: int) -> ShapeLimits:
        least, _, most = self._engine.get_tensor_profile_shape(name, profile)
        return ShapeLimits(tuple(least), tuple(most))

    def _refused(self) -> str:
        error = self._logger.errors[0] if self._logger.errors else 'TensorRT gave no reason.'
        reason = next((text for words, text in REASONS.items() if words in error), '')
        return (
            f'TensorRT {self._trt.__version__} cannot load {self._path} on {self._memory.gpu}. '
            f'{reason} Build it here, with tools/onnx2tensorrt.py.\n  {error}'
        )

    def _failed(self, what: str) -> str:
        errors = '\n'.join(f'  {error}' for error in self._logger.errors[-3:])
        return (
            f'{self._path}: TensorRT {self._trt.__version__} {what} on {self._memory.gpu}.\n'
            f'{errors or "  (TensorRT gave no reason)"}'
        )


def _text(shape: Iterable[int | None]) -> str:
    """``(1, 3, 480, 640) -> '1x3x480x640'``."""
    return 'x'.join(map(str, shape))
