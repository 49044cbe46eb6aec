"""TensorRT engines, with the part of its Python API that versions 8.6, 10 and 11 share."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...errors import UserError
from .base import Arrays, Profiles, ShapeLimits, Tensor, checked
from .cuda_memory import CudaMemory
from .pool import Pool
from .tensorrt_package import (
    HOST_CODE,
    create,
    host_code_allowed,
    import_tensorrt,
    make_logger,
)

logger = logging.getLogger(__name__)

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
    'HostCodeAllowed': 'It holds code for the host, as version-compatible engines do. If you trust '
    f'it, set {HOST_CODE}=1 or pass host_code=True to TensorRTSession.',
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

    def another(self) -> 'Memory':
        """Memory of the same GPU with a stream of its own."""

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


@dataclass
class Lane:
    """What one run at a time uses.

    Attributes:
        memory: Memory and a stream of the GPU.
        context: TensorRT's execution context.
        seen: Shapes and addresses of the last run, where CUDA graphs are wanted.
        graph: The run as a CUDA graph; None before the second run of the same shapes.
    """

    memory: Memory
    context: Any
    seen: Any = None
    graph: Callable[[], None] | None = None


class TensorRTSession:
    """A TensorRT engine on one GPU. An engine is code: load none that you do not trust.

    Calls of several threads run side by side, each in an execution context of its own; those that
    find none wait.

    Args:
        path: The engine.
        memory: Memory of the GPU to run on; default: cuda-python's of the first one.
        contexts: Most execution contexts. Another one is made, and takes the GPU's memory for
            feature maps and buffers again, only when a thread finds all others busy. TensorRT 8
            has one.
        cuda_graphs: Whether to record the run of a shape that comes twice in a row as a CUDA graph,
            which saves the time of launching kernels one by one. It needs cuda-python 12 and a
            graph whose shapes depend on no values (``onnx_config.nms='matrix'``); others run as
            they would without.
        host_code: Whether the engine may hold code for the host, as version-compatible ones do;
            the environment variable ``MMTRTVIT_ENGINE_HOST_CODE=1`` allows it as well.
        dla_core: Number of the accelerator for deep learning (DLA) to use; default: TensorRT's.

    Raises:
        NoTensorRT: If TensorRT is not installed.
        UserError: If cuda-python or the GPU is not there, or the engine is broken, was built by
            another version or for another GPU, or has a tensor of a type that cannot be used.
    """

    backend = 'tensorrt'

    def __init__(
        self,
        path: str | Path,
        memory: Memory | None = None,
        *,
        contexts: int = 2,
        cuda_graphs: bool = False,
        host_code: bool = False,
        dla_core: int | None = None,
    ) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise UserError(f'there is no file {path}.')
        if contexts < 1:
            raise UserError(f'contexts is {contexts}, expected 1 or more.')
        self._trt = import_tensorrt()
        self._memory = memory or CudaMemory()
        if cuda_graphs and not hasattr(self._memory, 'capture'):
            raise UserError('cuda_graphs: PyTorch holds the memory here; only cuda-python records.')
        self._cuda_graphs = cuda_graphs
        self._logger = make_logger(self._trt)
        self._trt.init_libnvinfer_plugins(self._logger, '')
        with self._memory.active():
            self._runtime = create(self._trt.Runtime, self._logger)  # the engine needs it
            self._runtime.engine_host_code_allowed = host_code or host_code_allowed()
            if dla_core is not None:
                self._runtime.DLA_core = dla_core
            self._engine = self._runtime.deserialize_cuda_engine(self._path.read_bytes())
            if self._engine is None:
                raise UserError(self._refused())
            context = self._engine.create_execution_context()
            if context is None:
                raise UserError(self._failed('could not prepare a run'))
        self.lanes = [Lane(self._memory, context)]
        shared = int(self._trt.__version__.partition('.')[0]) >= 10  # profiles, by contexts
        self._pool = Pool(self.lanes[0], contexts if shared else 1)
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

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the engine once.

        Raises:
            UserError: If an input is missing, has another type or a shape outside of all profiles,
                or TensorRT fails.
        """
        values = checked(self.inputs, inputs, self._path)
        with self._pool.take(self._another_lane) as lane, lane.memory.active():
            self._execute(lane, values)
            return {each.name: lane.memory.read(each.name) for each in self.outputs}

    def hold(self, inputs: Arrays) -> Callable[[], None]:
        """Puts inputs on the GPU and returns a call that runs the engine on them, again and again.

        The call copies nothing. It gives the work to the memory's stream and does not wait. As it
        holds the session's memory, nothing else may be run from then on.

        Raises:
            UserError: See :meth:`run`.
        """
        values = checked(self.inputs, inputs, self._path)
        with self._pool.take(self._another_lane) as lane, lane.memory.active():
            held = Lane(lane.memory, self._engine.create_execution_context())
            self._bind(held, values)
        return partial(self._enqueue, held)

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
        with self._pool.take(self._another_lane) as lane, lane.memory.active():
            timed = Lane(lane.memory, self._engine.create_execution_context())
            timed.context.profiler = profiler
            for _ in range(rounds):
                times.append({})
                self._bind(timed, values)
                self._enqueue(timed)
        return times

    def layers(self) -> list[dict[str, Any]]:
        """What TensorRT's inspector says of each layer: Name, Metadata and more."""
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        return [
            layer if isinstance(layer, dict) else {'Name': layer}
            for layer in json.loads(text)['Layers']
        ]

    def _another_lane(self) -> Lane | None:
        """None where the GPU has no memory left for one: threads share those that there are."""
        memory = self._memory.another()
        with memory.active():
            context = self._engine.create_execution_context()
        if context is None:
            logger.warning('%s', self._failed('could not prepare to run two images at once'))
            return None
        self.lanes.append(Lane(memory, context))
        return self.lanes[-1]

    def _execute(self, lane: Lane, values: Mapping[str, np.ndarray]) -> None:
        seen = self._bind(lane, values)
        if not self._cuda_graphs:
            return self._enqueue(lane)
        if lane.seen != seen:  # TensorRT prepares itself for a shape in its first run
            lane.seen, lane.graph = seen, None
            return self._enqueue(lane)
        if lane.graph is None:
            try:
                memory: Any = lane.memory  # that it records was looked at before
                lane.graph = memory.capture(lambda: self._enqueue(lane))
            except UserError as error:
                logger.warning('%s: no CUDA graph can be recorded: %s', self._path, error)
                self._cuda_graphs = False
                return self._enqueue(lane)
        return lane.graph()

    def _bind(self, lane: Lane, values: Mapping[str, np.ndarray]) -> Any:
        """Hands a run's tensors to the context, and returns their shapes and addresses."""
        context, memory = lane.context, lane.memory
        profile = self._profile_for(values)
        if context.active_optimization_profile != profile:
            context.set_optimization_profile_async(profile, memory.stream)
        seen = []
        for name, value in values.items():
            if not context.set_input_shape(name, value.shape):
                raise UserError(self._failed(f'refuses {name} of {_text(value.shape)}'))
            address = memory.write(name, value, self._dtypes[name])
            context.set_tensor_address(name, address)
            seen.append((value.shape, address))
        for each in self.outputs:
            shape = tuple(context.get_tensor_shape(each.name))
            if min(shape, default=0) < 0:
                raise UserError(
                    f'{self._path}: the shape of {each.name} depends on values, {shape}. '
                    'Graphs that tools/deploy.py writes have outputs of fixed shape.'
                )
            address = memory.reserve(each.name, shape, self._dtypes[each.name])
            context.set_tensor_address(each.name, address)
            seen.append((shape, address))
        return seen

    def _enqueue(self, lane: Lane) -> None:
        if not lane.context.execute_async_v3(lane.memory.stream):
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
        if 'HostCode' not in error:
            reason += ' Build it here, with tools/onnx2tensorrt.py.'
        return (
            f'TensorRT {self._trt.__version__} cannot load {self._path} on {self._memory.gpu}. '
            f'{reason.strip()}\n  {error}'
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
