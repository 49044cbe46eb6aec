"""TensorRT engines, with the part of its Python API that versions 8.6, 10 and 11 share."""

import importlib
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import UserError
from .base import Arrays, Profile, Tensor
from .tensorrt_package import create, import_tensorrt, make_logger


class EngineSession:
    """A TensorRT engine on one GPU.

    Calls of several threads run one after the other: an execution context takes one at a time.

    Args:
        path: The engine.
        gpu: Number of the GPU.

    Raises:
        UserError: If TensorRT, cuda-python or the GPU is not there, or the engine is broken, or was
            built by another version or for another GPU.
    """

    def __init__(self, path: str | Path, gpu: int = 0) -> None:
        self._cuda = Cuda(gpu)
        trt = import_tensorrt()
        logger = make_logger(trt)
        trt.init_libnvinfer_plugins(logger, '')
        self._runtime = create(trt.Runtime, logger)
        self._runtime.engine_host_code_allowed = True  # version-compatible engines have some
        self._engine = self._runtime.deserialize_cuda_engine(Path(path).read_bytes())
        self._context = self._engine and self._engine.create_execution_context()
        if not self._context:
            raise UserError(
                f'{path} cannot be loaded by TensorRT {trt.__version__}. An engine has to be '
                'whole, built by the same version and for the same GPU. Build it here. '
                f'TensorRT says: {"; ".join(logger.errors) or "nothing"}'
            )
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = [
            name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ]
        tensors = {
            name: Tensor(
                name,
                _sides(self._engine.get_tensor_shape(name)),
                _dtype(trt, self._engine.get_tensor_dtype(name)),
            )
            for name in names
        }
        self.inputs = tuple(tensors[name] for name in inputs)
        self.outputs = tuple(tensors[name] for name in names if name not in inputs)
        self.profiles = tuple(
            self._profile(index) for index in range(self._engine.num_optimization_profiles)
        )
        self._buffers: dict[str, Buffer] = {name: Buffer(self._cuda) for name in names}
        self._lock = Lock()

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        with self._lock:
            self._cuda.use()
            self._select(inputs['input'].shape)
            given = {
                tensor.name: np.ascontiguousarray(inputs[tensor.name], tensor.dtype)
                for tensor in self.inputs
            }
            for name, value in given.items():
                if not self._context.set_input_shape(name, value.shape):
                    raise UserError(f'the engine does not take {name} of {value.shape}.')
                self._buffers[name].write(value)
                self._context.set_tensor_address(name, self._buffers[name].address)
            outputs = {}
            for tensor in self.outputs:
                value = np.empty(tuple(self._context.get_tensor_shape(tensor.name)), tensor.dtype)
                self._buffers[tensor.name].reserve(value.nbytes)
                self._context.set_tensor_address(tensor.name, self._buffers[tensor.name].address)
                outputs[tensor.name] = value
            if not self._context.execute_async_v3(self._cuda.stream):
                raise RuntimeError('TensorRT could not run the engine.')
            for name, value in outputs.items():
                self._buffers[name].read(value)
            self._cuda.wait()
        return outputs

    def _profile(self, index: int) -> Profile:
        if not any(tensor.name == 'input' for tensor in self.inputs):
            return Profile((), ())
        least, _, most = self._engine.get_tensor_profile_shape('input', index)
        return Profile(tuple(least), tuple(most))

    def _select(self, shape: tuple[int, ...]) -> None:
        """Switches to the first profile that takes a shape."""
        fitting = (index for index, profile in enumerate(self.profiles) if _takes(profile, shape))
        index = next(fitting, None)
        if index is None:
            raise UserError(f'the engine does not take an input of {shape}.')
        if index != self._context.active_optimization_profile:
            self._context.set_optimization_profile_async(index, self._cuda.stream)
            self._cuda.wait()


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
        self.stream = int(self.call('cudaStreamCreate'))

    def use(self) -> None:
        """Selects the GPU for the calling thread."""
        self.call('cudaSetDevice', self._gpu)

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

    def copy(self, target: int, source: int, size: int, kind: str) -> None:
        """Copies bytes in the stream; ``kind`` is ``'HostToDevice'`` or ``'DeviceToHost'``."""
        kind = getattr(self._api.cudaMemcpyKind, f'cudaMemcpy{kind}')
        self.call('cudaMemcpyAsync', target, source, size, kind, self.stream)

    def wait(self) -> None:
        """Waits until all in the stream is done."""
        self.call('cudaStreamSynchronize', self.stream)


class Buffer:
    """Memory of a GPU that grows when it has to.

    Args:
        cuda: Its GPU.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._size = 0
        self.address = 0

    def reserve(self, size: int) -> None:
        """Makes room for as many bytes, and one at least: no address is 0."""
        size = max(size, 1)
        if size > self._size:
            self.free()
            self.address = int(self._cuda.call('cudaMalloc', size))
            self._size = size

    def write(self, value: np.ndarray) -> None:
        """Copies an array to the GPU; it must live until the stream is done."""
        self.reserve(value.nbytes)
        self._cuda.copy(self.address, value.ctypes.data, value.nbytes, 'HostToDevice')

    def read(self, value: np.ndarray) -> None:
        """Fills an array from the GPU, once the stream is done."""
        self._cuda.copy(value.ctypes.data, self.address, value.nbytes, 'DeviceToHost')

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


def _dtype(trt: ModuleType, dtype: Any) -> np.dtype:
    names = dict(
        FLOAT='float32',
        HALF='float16',
        INT32='int32',
        INT64='int64',
        BOOL='bool',
        UINT8='uint8',
        INT8='int8',
    )  # not every version has all of them
    return np.dtype(
        next(ours for theirs, ours in names.items() if dtype == getattr(trt.DataType, theirs, None))
    )


def _sides(shape: Any) -> tuple[int | None, ...]:
    return tuple(side if side >= 0 else None for side in shape)


def _takes(profile: Profile, shape: tuple[int, ...]) -> bool:
    return all(
        least <= side <= most for least, side, most in zip(profile.least, shape, profile.most)
    )
