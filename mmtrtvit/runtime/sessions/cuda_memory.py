"""Memory of a GPU by cuda-python, for sessions without PyTorch."""

import ctypes
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from ...errors import UserError


class CudaMemory:
    """A stream of a GPU and a buffer for each tensor, as :class:`.TensorRTSession` wants them.

    Args:
        gpu: Number of the GPU.
        pinned: Whether arrays go through memory of the host that is pinned, from where the GPU
            copies them faster. It takes as much of the host's as inputs and outputs are large.

    Raises:
        UserError: If cuda-python or the GPU is not there.
    """

    def __init__(self, gpu: int = 0, *, pinned: bool = True) -> None:
        self.cuda = Cuda(gpu)
        self.gpu = f'GPU {gpu}'
        self.stream = int(self.cuda.call('cudaStreamCreate'))
        self._number, self._pinned = gpu, pinned
        self._buffers: dict[str, Buffer] = {}
        self._staged: dict[str, Buffer] = {}
        self._arriving: list[tuple[np.ndarray, np.ndarray]] = []
        self._kinds: dict[str, tuple[tuple[int, ...], np.dtype]] = {}

    def another(self) -> 'CudaMemory':
        """Memory of the same GPU with a stream of its own."""
        return CudaMemory(self._number, pinned=self._pinned)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Selects the GPU for the calling thread, and waits for the stream at the end."""
        self.cuda.use()
        self._arriving.clear()
        yield
        self.cuda.call('cudaStreamSynchronize', self.stream)
        for value, staged in self._arriving:
            np.copyto(value, staged)

    def host_dtype(self, dtype: str) -> np.dtype | None:
        """NumPy's type of that name, None if it has none."""
        return None if dtype == 'bfloat16' else np.dtype(dtype)

    def write(self, name: str, value: np.ndarray, dtype: str) -> int:
        """Copies an array to the GPU; it must live until the stream is done."""
        address = self.reserve(name, value.shape, dtype)
        if self._pinned:
            staged = self._stage(name)
            np.copyto(staged, value)
            value = staged
        self._copy(address, value.ctypes.data, value.nbytes, 'HostToDevice')
        return address

    def reserve(self, name: str, shape: Sequence[int], dtype: str) -> int:
        """Makes room for a tensor."""
        self._kinds[name] = tuple(shape), np.dtype(dtype)
        buffer = self._buffers.setdefault(name, Buffer(self.cuda))
        return buffer.reserve(prod(shape) * np.dtype(dtype).itemsize)

    def read(self, name: str) -> np.ndarray:
        """An array that holds the tensor once the stream is done."""
        value = np.empty(*self._kinds[name])
        target = self._stage(name) if self._pinned else value
        self._copy(target.ctypes.data, self._buffers[name].address, value.nbytes, 'DeviceToHost')
        if self._pinned:
            self._arriving.append((value, target))
        return value

    def capture(self, work: Callable[[], Any]) -> 'CudaGraph':
        """Records what ``work`` gives to the stream, without doing it, as a CUDA graph.

        Raises:
            UserError: If the stream was given something that cannot be recorded.
        """
        mode = self.cuda.word('cudaStreamCaptureMode', 'cudaStreamCaptureModeThreadLocal')
        self.cuda.call('cudaStreamBeginCapture', self.stream, mode)
        try:
            work()
        finally:
            graph = self.cuda.call('cudaStreamEndCapture', self.stream)
        try:
            return CudaGraph(self.cuda, graph, self.stream)
        finally:
            self.cuda.call('cudaGraphDestroy', graph)

    def _stage(self, name: str) -> np.ndarray:
        """An array in pinned memory, of a tensor's shape and type."""
        shape, dtype = self._kinds[name]
        size = prod(shape) * dtype.itemsize
        buffer = self._staged.setdefault(name, Buffer(self.cuda, 'cudaMallocHost', 'cudaFreeHost'))
        memory = (ctypes.c_byte * size).from_address(buffer.reserve(size))
        return np.frombuffer(memoryview(memory), dtype).reshape(shape)

    def _copy(self, target: int, source: int, size: int, kind: str) -> None:
        kind = self.cuda.word('cudaMemcpyKind', f'cudaMemcpy{kind}')
        self.cuda.call('cudaMemcpyAsync', target, source, size, kind, self.stream)


class CudaGraph:
    """Work for a GPU that is launched as one: call it.

    Args:
        cuda: Its GPU.
        graph: Handle of what was recorded.
        stream: Handle of the stream to launch it on.
    """

    def __init__(self, cuda: 'Cuda', graph: Any, stream: int) -> None:
        self._cuda, self._stream = cuda, stream
        self._executable = cuda.call('cudaGraphInstantiate', graph, 0)

    def __call__(self) -> None:
        """Gives the work to the stream."""
        self._cuda.call('cudaGraphLaunch', self._executable, self._stream)

    def __del__(self) -> None:
        try:
            self._cuda.call('cudaGraphExecDestroy', self._executable)
        except Exception:  # noqa: S110  the process ends, or there is none
            pass


class Cuda:
    """The few calls of the CUDA runtime that an engine needs, on one GPU.

    Args:
        gpu: Its number.
    """

    def __init__(self, gpu: int) -> None:
        try:  # cuda-python 12.8 and newer, and before
            self._api = importlib.import_module('cuda.bindings.runtime')
        except ImportError:
            try:
                self._api = importlib.import_module('cuda.cudart')
            except ImportError as error:
                raise UserError(f'an engine needs cuda-python: {error}.') from error
        self._gpu = gpu
        self.use()

    def use(self) -> None:
        """Selects the GPU for the calling thread."""
        self.call('cudaSetDevice', self._gpu)

    def word(self, enum: str, name: str) -> Any:
        """A member of one of CUDA's enums."""
        return getattr(getattr(self._api, enum), name)

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls a function of the CUDA runtime and returns what it returns, if anything.

        Raises:
            UserError: With CUDA's words for what went wrong.
        """
        error, *results = getattr(self._api, name)(*arguments)
        if int(error):
            _, text = self._api.cudaGetErrorString(error)
            text = text.decode() if isinstance(text, bytes) else text
            raise UserError(f'{name} failed on GPU {self._gpu}: {text}.')
        return results[0] if results else None


class Buffer:
    """Memory of a GPU, or of its host, that grows when it has to.

    Args:
        cuda: Its GPU.
        allocate: CUDA's function that gives such memory.
        free: The one that takes it back.
    """

    def __init__(self, cuda: Cuda, allocate: str = 'cudaMalloc', free: str = 'cudaFree') -> None:
        self._cuda, self._allocate, self._free = cuda, allocate, free
        self._size = 0
        self.address = 0

    def reserve(self, size: int) -> int:
        """Makes room for as many bytes, and one at least: no address is 0."""
        size = max(size, 1)
        if size > self._size:
            self.free()
            self.address = int(self._cuda.call(self._allocate, size))
            self._size = size
        return self.address

    def free(self) -> None:
        """Gives the memory back."""
        if self.address:
            self._cuda.call(self._free, self.address)
        self.address = self._size = 0

    def __del__(self) -> None:
        try:
            self.free()
        except Exception:  # noqa: S110  the process ends, and CUDA is gone
            pass
