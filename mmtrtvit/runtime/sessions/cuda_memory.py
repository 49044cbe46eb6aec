"""Memory of a GPU by cuda-python, for sessions without PyTorch."""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from ...errors import UserError


class CudaMemory:
    """A stream of a GPU and a buffer for each tensor, as :class:`.TensorRTSession` wants them.

    Args:
        gpu: Number of the GPU.

    Raises:
        UserError: If cuda-python or the GPU is not there.
    """

    def __init__(self, gpu: int = 0) -> None:
        self.cuda = Cuda(gpu)
        self.gpu = f'GPU {gpu}'
        self.stream = int(self.cuda.call('cudaStreamCreate'))
        self._buffers: dict[str, Buffer] = {}
        self._kinds: dict[str, tuple[tuple[int, ...], np.dtype]] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Selects the GPU for the calling thread, and waits for the stream at the end."""
        self.cuda.use()
        yield
        self.cuda.call('cudaStreamSynchronize', self.stream)

    def host_dtype(self, dtype: str) -> np.dtype | None:
        """NumPy's type of that name, None if it has none."""
        return None if dtype == 'bfloat16' else np.dtype(dtype)

    def write(self, name: str, value: np.ndarray, dtype: str) -> int:
        """Copies an array to the GPU; it must live until the stream is done."""
        address = self.reserve(name, value.shape, dtype)
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
        self._copy(value.ctypes.data, self._buffers[name].address, value.nbytes, 'DeviceToHost')
        return value

    def _copy(self, target: int, source: int, size: int, kind: str) -> None:
        self.cuda.call('cudaMemcpyAsync', target, source, size, self.cuda.copies(kind), self.stream)


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

    def copies(self, kind: str) -> Any:
        """CUDA's word for ``'HostToDevice'`` or ``'DeviceToHost'``."""
        return getattr(self._api.cudaMemcpyKind, f'cudaMemcpy{kind}')

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
    """Memory of a GPU that grows when it has to.

    Args:
        cuda: Its GPU.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._size = 0
        self.address = 0

    def reserve(self, size: int) -> int:
        """Makes room for as many bytes, and one at least: no address is 0."""
        size = max(size, 1)
        if size > self._size:
            self.free()
            self.address = int(self._cuda.call('cudaMalloc', size))
            self._size = size
        return self.address

    def free(self) -> None:
        """Gives the memory back."""
        if self.address:
            self._cuda.call('cudaFree', self.address)
        self.address = self._size = 0

    def __del__(self) -> None:
        try:
            self.free()
        except Exception:  # noqa: S110  the process ends, and CUDA is gone
            pass
