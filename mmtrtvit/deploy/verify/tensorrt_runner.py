"""Runs engines of TensorRT 8.6 to 11, with PyTorch's memory and streams."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ...errors import UserError
from ...runtime.sessions.tensorrt_package import NoTensorRT, create, import_tensorrt, make_logger
from ..backends.tensorrt.options import ShapeRange, format_shape
from .runners import Arrays, check_inputs

# Words of TensorRT's errors, and what they mean.
REASONS = {
    'incompatible device': 'It was built for another GPU.',
    'library version': 'It was built by another version of TensorRT.',
    'ersion tag': 'It was built by another version of TensorRT.',
    'magicTag': 'The file is damaged, or no engine.',
}


class GpuStream:
    """A GPU and a stream of its own.

    Args:
        device: ``'cuda'`` or ``'cuda:0'``, ...

    Raises:
        NoTensorRT: If PyTorch finds no GPU.
        UserError: If there is no such GPU.
    """

    def __init__(self, device: str) -> None:
        if not torch.cuda.is_available():
            raise NoTensorRT('PyTorch finds no GPU here, and an engine runs on nothing else.')
        self.device = torch.device(device)
        if self.device.type != 'cuda' or (self.device.index or 0) >= torch.cuda.device_count():
            raise UserError(
                f'--device {device}: an engine runs on cuda:0 to '
                f'cuda:{torch.cuda.device_count() - 1}.'
            )
        self.name = torch.cuda.get_device_name(self.device)
        self.stream = torch.cuda.Stream(self.device)
        self.handle = self.stream.cuda_stream

    @contextmanager
    def active(self) -> Iterator[None]:
        """Lets everything inside run on the stream, and waits for it."""
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            yield
            self.stream.synchronize()


class TensorRTRunner:
    """Runs an engine. An engine is code: load none that you do not trust.

    Args:
        path: The file.
        device: ``'cuda:0'``, ...

    Attributes:
        profiles: Ranges of the inputs' shapes; an input has to be in those of one profile.

    Raises:
        NoTensorRT: If there is no TensorRT or no GPU here.
        UserError: If the file is of another version or GPU, or no engine.
    """

    name = 'tensorrt'

    def __init__(self, path: str | Path, device: str = 'cuda:0') -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f'there is no file {path}.')
        self.trt = import_tensorrt()
        self.stream = GpuStream(device)
        self.logger = make_logger(self.trt)
        self.trt.init_libnvinfer_plugins(self.logger, '')
        with self.stream.active():
            runtime = create(self.trt.Runtime, self.logger)
            runtime.engine_host_code_allowed = True  # version-compatible engines have some
            engine = runtime.deserialize_cuda_engine(self.path.read_bytes())
            if engine is None:
                raise UserError(self._refused())
            self.runtime, self.engine = runtime, engine  # the engine needs its runtime
            self.context = engine.create_execution_context()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        self.inputs = tuple(name for name in names if modes[name] == self.trt.TensorIOMode.INPUT)
        self.outputs = tuple(name for name in names if name not in self.inputs)
        self.dtypes = {
            name: _torch_dtype(self.trt, engine.get_tensor_dtype(name)) for name in names
        }
        self.shapes = {
            name: tuple(None if side < 0 else side for side in engine.get_tensor_shape(name))
            for name in self.inputs
        }
        self.profiles = [
            {
                name: ShapeRange(*map(tuple, engine.get_tensor_profile_shape(name, index)))
                for name in self.inputs
            }
            for index in range(engine.num_optimization_profiles)
        ]
        self.max_batch = max(profile[self.inputs[0]].max[0] for profile in self.profiles)

    def infer(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the engine once.

        Raises:
            UserError: If an input has another type or a shape outside of all profiles, or TensorRT
                fails.
        """
        check_inputs(self.inputs, inputs)
        with self.stream.active():
            outputs = self._run(self.context, self._to_gpu(inputs))
        return {name: outputs[name].cpu().numpy() for name in self.outputs}

    def time_layers(self, inputs: Arrays, rounds: int) -> list[dict[str, float]]:
        """Milliseconds of each layer by name, in each of several rounds."""
        times: list[dict[str, float]] = []
        trt: Any = self.trt

        class Profiler(trt.IProfiler):
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times[-1][layer_name] = times[-1].get(layer_name, 0.0) + ms

        profiler = Profiler()
        with self.stream.active():
            context = self.engine.create_execution_context()
            context.profiler = profiler
            tensors = self._to_gpu(inputs)
            for _ in range(rounds):
                times.append({})
                self._run(context, tensors)
        return times

    def layers(self) -> list[dict[str, Any]]:
        """What TensorRT's inspector says of each layer: Name, Metadata and more."""
        inspector = self.engine.create_engine_inspector()
        text = inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)
        return [
            layer if isinstance(layer, dict) else {'Name': layer}
            for layer in json.loads(text)['Layers']
        ]

    def _to_gpu(self, inputs: Arrays) -> dict[str, torch.Tensor]:
        tensors = {}
        for name in self.inputs:
            tensor = torch.from_numpy(np.ascontiguousarray(inputs[name]))
            if tensor.dtype != self.dtypes[name]:
                raise UserError(
                    f'{name} is of {tensor.dtype}, but {self.path} takes {self.dtypes[name]}.'
                )
            tensors[name] = tensor.to(self.stream.device)
        return tensors

    def _run(self, context: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        profile = self._profile_for(tensors)
        if context.active_optimization_profile != profile:
            context.set_optimization_profile_async(profile, self.stream.handle)
        for name, tensor in tensors.items():
            if not context.set_input_shape(name, tuple(tensor.shape)):
                raise UserError(self._failed(f'refuses {name} of {format_shape(tensor.shape)}'))
            context.set_tensor_address(name, tensor.data_ptr())
        outputs = {}
        for name in self.outputs:
            shape = tuple(context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                raise UserError(
                    f'{self.path}: the shape of {name} depends on values, {shape}. '
                    'Graphs that tools/deploy.py writes have outputs of fixed shape.'
                )
            outputs[name] = torch.empty(shape, dtype=self.dtypes[name], device=self.stream.device)
            context.set_tensor_address(name, outputs[name].data_ptr())
        if not context.execute_async_v3(self.stream.handle):
            raise UserError(self._failed('failed'))
        return outputs

    def _profile_for(self, tensors: dict[str, torch.Tensor]) -> int:
        for index, profile in enumerate(self.profiles):
            if all(_inside(tensor.shape, profile[name]) for name, tensor in tensors.items()):
                return index
        given = ', '.join(f'{name} {format_shape(x.shape)}' for name, x in tensors.items())
        ranges = '; '.join(
            ', '.join(
                f'{name} {format_shape(shapes.min)} to {format_shape(shapes.max)}'
                for name, shapes in profile.items()
            )
            for profile in self.profiles
        )
        raise UserError(
            f'{self.path} takes {ranges}, but got {given}: resize the image, or '
            'build an engine with another range (backend_config.model_inputs).'
        )

    def _refused(self) -> str:
        error = self.logger.errors[0] if self.logger.errors else 'TensorRT gave no reason.'
        reason = next((text for words, text in REASONS.items() if words in error), '')
        return (
            f'TensorRT {self.trt.__version__} cannot load {self.path} on {self.stream.name}. '
            f'{reason} Build it here, with tools/onnx2tensorrt.py.\n  {error}'
        )

    def _failed(self, what: str) -> str:
        errors = '\n'.join(f'  {error}' for error in self.logger.errors[-3:])
        return f'{self.path}: TensorRT {self.trt.__version__} {what}.\n{errors}'


def _inside(shape: torch.Size, shapes: ShapeRange) -> bool:
    return len(shape) == len(shapes.min) and all(
        least <= side <= most for least, side, most in zip(shapes.min, shape, shapes.max)
    )


def _torch_dtype(trt: ModuleType, dtype: Any) -> torch.dtype:
    names = dict(
        FLOAT='float32',
        HALF='float16',
        BF16='bfloat16',
        INT32='int32',
        INT64='int64',
        BOOL='bool',
        UINT8='uint8',
        INT8='int8',
    )
    return next(
        getattr(torch, ours)
        for theirs, ours in names.items()
        if dtype == getattr(trt.DataType, theirs, None)
    )
