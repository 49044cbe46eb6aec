"""OpenVINO's models, and ONNX files in OpenVINO.

What computes in single precision is told so: on a processor that has BF16 or FP16, OpenVINO would
take that otherwise, and boxes would move.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError, listed
from .base import Arrays, NoMemory, Tensor, any_shape, checked
from .openvino_roi_align import put_channels_last
from .openvino_topk import make_stable
from .pool import Pool

LEAST_VERSION = 2024, 6
# What an .xml file says of itself, and what OpenVINO calls the type to compute in. Weights of
# FP16 and layers of INT8 are in the file.
PRECISION = ['mmtrtvit', 'precision']
INT8_BF16 = 'int8_bf16'  # INT8, and the rest in BF16 on a device that has it
HINTS = {'fp32': 'f32', 'fp16': 'f32', 'int8': 'f32', 'bf16': 'bf16', INT8_BF16: 'bf16'}
NEEDED = {'bf16': 'BF16', 'int8': 'INT8', INT8_BF16: 'INT8'}  # capabilities of the device
# Words of OpenVINO's errors where memory is too small for what a graph asks.
MEMORY = 'bad_alloc', 'Failed to allocate', 'out of memory', 'could not create a memory'


class OpenVINOSession:
    """A model in OpenVINO.

    Threads may share it: each run has an infer request of its own.

    Args:
        path: An ``.xml`` file with the ``.bin`` file beside it, or an ONNX file.
        device: ``'cpu'`` or ``'openvino'`` for the CPU, or ``'openvino:GPU'``, ... for another one
            of OpenVINO's devices.
        threads: Threads of the CPU; 0 for one per core.
        streams: Runs that are computed at once, each with its share of the threads, where threads
            share the session: more of them give more images a second, and each takes longer.
        cache_dir: Folder for compiled models, which open faster the next time.
        profile: Whether to measure the layers, see :meth:`layer_times`.
        precision: What to compute in, one of :data:`HINTS`; default: what the file says, or fp32.

    Raises:
        UserError: If OpenVINO or the device is not there, does not compute in that precision, or
            the file cannot be run.
    """

    backend = 'openvino'

    def __init__(
        self,
        path: str | Path,
        device: str = 'cpu',
        threads: int = 0,
        *,
        streams: int = 1,
        cache_dir: str | Path | None = None,
        profile: bool = False,
        precision: str | None = None,
    ) -> None:
        self._path = Path(path)
        core = core_for(path)
        target = device_of(device, core.available_devices)
        options: dict[str, Any] = dict(PERFORMANCE_HINT='LATENCY')
        if streams > 1:
            options = dict(NUM_STREAMS=streams)
        if threads and target == 'CPU':
            options['INFERENCE_NUM_THREADS'] = threads
        if cache_dir is not None:
            options['CACHE_DIR'] = str(cache_dir)
        if profile:
            options['PERF_COUNT'] = True
        weights = self._path.with_suffix('.bin')
        if self._path.suffix == '.xml' and not weights.is_file():
            raise UserError(
                f'there is no {weights}, which holds the weights of {path}: copy both files.'
            )
        try:
            model = read_model(core, self._path)
            self.precision = precision or _precision_of(model)
            check_precision(core, target, self.precision, path)
            options['INFERENCE_PRECISION_HINT'] = hint_of(core, target, self.precision)
            if target == 'CPU':
                put_channels_last(model)
            # Tensors of the compiled model have other names besides.
            self.inputs = tuple(map(_tensor, model.inputs))
            self.outputs = tuple(map(_tensor, model.outputs))
            self._model = core.compile_model(model, target, options)
        except RuntimeError as error:
            raise _failure(
                path, error, f'{path} cannot be run by OpenVINO: is it whole?'
            ) from error
        self.profiles = any_shape(self.inputs)
        self.device = device
        self._requests = Pool(self._model.create_infer_request(), streams)

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the graph once.

        Raises:
            NoMemory: If it asks for more memory than there is.
            UserError: If an input is missing or of another type, or OpenVINO fails, as with a
                shape that the graph does not take.
        """
        values = checked(self.inputs, inputs, self._path)
        with self._requests.take(self._model.create_infer_request) as request:
            try:
                request.infer(values, share_inputs=True)
            except RuntimeError as error:
                raise _failure(self._path, error, f'{self._path}: OpenVINO failed.') from error
            return {
                each.name: np.array(request.get_output_tensor(index).data)
                for index, each in enumerate(self.outputs)
            }

    def layer_times(self, inputs: Arrays, rounds: int) -> list[dict[str, float]]:
        """Milliseconds of each layer by name, in each of several rounds.

        The session must have been opened with ``profile=True``.
        """
        times = []
        for _ in range(rounds):
            self.run(inputs)
            with self._requests.take(self._model.create_infer_request) as request:
                times.append(
                    {
                        each.node_name: each.real_time.total_seconds() * 1000
                        for each in request.profiling_info
                        if each.real_time
                    }
                )
        return times


def read_model(core: Any, path: Path) -> Any:
    """Reads an ``.xml`` or ONNX file for an ``openvino.Core``, with TopK as ONNX means it."""
    model = core.read_model(path)
    make_stable(model, done=model.has_rt_info(PRECISION))
    return model


def core_for(path: str | Path) -> Any:
    """Returns OpenVINO's Core, the same for the whole process.

    With the plugin for CPUs, a Core sets the stack on which the process handles signals, and freed,
    puts back the one that it found. Of two that are freed in the order in which they were made, the
    second puts back that of the first, which is gone: the next signal, such as the end of a child
    process, ends the process with a segmentation fault.

    Args:
        path: What needs it, for messages.

    Raises:
        UserError: If it is not installed, or too old.
    """
    try:
        import openvino
    except ImportError as error:
        raise UserError(
            f'{path} needs OpenVINO: pip install "mmtrtvit[openvino]" ({error}).'
        ) from error
    version = tuple(map(int, re.findall(r'\d+', openvino.__version__)[:2]))
    if version < LEAST_VERSION:
        least = '.'.join(map(str, LEAST_VERSION))
        raise UserError(
            f'{path} needs OpenVINO {least} or newer, but {openvino.__version__} is installed: '
            'pip install --upgrade openvino.'
        )
    return _core()


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def device_of(device: str, known: Sequence[str]) -> str:
    """OpenVINO's name of a device: ``'cpu' -> 'CPU'``, ``'openvino:GPU' -> 'GPU'``.

    Raises:
        UserError: If OpenVINO does not find it here.
    """
    kind, _, name = device.partition(':')
    target = (name or 'CPU').upper() if kind == 'openvino' else device.upper()
    if target not in known:
        raise UserError(
            f'the device is {device!r}, but OpenVINO finds here {listed(known)}. Expected cpu, or '
            'one of these as in openvino:GPU.'
        )
    return target


def hint_of(core: Any, device: str, precision: str) -> str:
    """What to compute in what a file has in single precision."""
    has = core.get_property(device, 'OPTIMIZATION_CAPABILITIES')
    return HINTS[precision if NEEDED['bf16'] in has else 'fp32']


def check_precision(core: Any, device: str, precision: str, path: str | Path) -> None:
    """Refuses a precision that a device does not compute in.

    Raises:
        UserError: With those that it has.
    """
    has = core.get_property(device, 'OPTIMIZATION_CAPABILITIES')
    needed = NEEDED.get(precision)
    if precision not in HINTS or needed and needed not in has:
        known = [each for each in HINTS if NEEDED.get(each) in (None, *has)]
        raise UserError(
            f'{path}: OpenVINO computes nothing in {precision} on this {device}. Export with one '
            f'of: {", ".join(known)}.'
        )


def _precision_of(model: Any) -> str:
    return model.get_rt_info(PRECISION).astype(str) if model.has_rt_info(PRECISION) else 'fp32'


def _tensor(port: Any) -> Tensor:
    shape = tuple(side.get_length() if side.is_static else None for side in port.partial_shape)
    return Tensor(port.any_name, shape, np.dtype(port.element_type.to_dtype()))


def _failure(path: str | Path, error: Exception, what: str) -> UserError:
    """What to tell of an error of OpenVINO."""
    text = str(error).strip()
    if any(words in text for words in MEMORY):
        return NoMemory(
            f'{path}: the graph asks for more memory than there is. Give it fewer or smaller '
            'images at once, or check the file.'
        )
    return UserError(f'{what} {text}')
