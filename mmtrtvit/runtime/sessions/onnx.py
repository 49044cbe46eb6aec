"""ONNX files in ONNX Runtime."""

import re
from collections.abc import Sequence
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserError
from .base import Arrays, NoMemory, Tensor, TimedOut, any_shape, checked, device_number

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Words of ONNX Runtime's errors where memory is too small for what a graph asks.
MEMORY = 'Failed to allocate memory', 'bad_alloc', 'size overflowed', 'out of memory'
SILENT = 4  # log level: what goes wrong in a run is in its error


class OnnxSession:
    """An ONNX file in ONNX Runtime.

    Args:
        path: The file.
        device: ``'cpu'``, or ``'cuda:0'`` with onnxruntime-gpu.
        threads: Threads of one operator; 0 for one per core.
        timeout: Most seconds of a run, which is stopped between two operators; None for no limit.
        spin: Whether threads wait for work in a loop after a run, too, and not only during it. That
            slows down what else runs, such as the preparation of the next image.
        profile: Beginning of the path of a file for the times of all operators, see
            :meth:`end_profile`; None to measure none.

    Raises:
        UserError: If ONNX Runtime or the device is not there, or the file cannot be run.
    """

    backend = 'onnxruntime'

    def __init__(
        self,
        path: str | Path,
        device: str = 'cpu',
        threads: int = 0,
        timeout: float | None = None,
        *,
        spin: bool = False,
        profile: str | Path | None = None,
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                f'{path} needs ONNX Runtime: pip install onnxruntime ({error}).'
            ) from error
        providers: list = ['CPUExecutionProvider']
        if device != 'cpu':
            if not has_cuda():
                raise UserError(
                    f'the device {device!r} cannot be used: this onnxruntime has no '
                    'CUDA. Install onnxruntime-gpu, or take cpu.'
                )
            providers.insert(
                0, ('CUDAExecutionProvider', {'device_id': device_number(device), 'use_tf32': '0'})
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if not spin:
            options.add_session_config_entry('session.force_spinning_stop', '1')
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
            if self._session.get_modelmeta().custom_metadata_map.get('precision') == 'fp8':
                # ONNX Runtime 1.32 gives wrong numbers with more than basic optimisations.
                basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
                options.graph_optimization_level = basic
                self._session = onnxruntime.InferenceSession(
                    str(path), options, providers=providers
                )
        except Exception as error:  # ONNX Runtime has one class for each kind
            raise _failure(
                path, error, f'{path} cannot be run by ONNX Runtime: is it whole?'
            ) from error
        self.inputs = tuple(map(_tensor, self._session.get_inputs()))
        self.outputs = tuple(map(_tensor, self._session.get_outputs()))
        self.profiles = any_shape(self.inputs)
        self.device = device
        self._path = path
        self._timeout = timeout

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the graph once.

        Raises:
            TimedOut: If it takes longer than it may.
            NoMemory: If it asks for more memory than there is.
            UserError: If an input is missing or of another type, or ONNX Runtime fails, as with a
                shape that the graph does not take.
        """
        values = checked(self.inputs, inputs, self._path)
        try:
            outputs = run_within(self._timeout, self._session, None, values, self._path)
        except TimedOut:
            raise
        except Exception as error:  # ONNX Runtime has one class for each kind
            raise _failure(self._path, error, f'{self._path}: ONNX Runtime failed.') from error
        return dict(zip((each.name for each in self.outputs), outputs))

    def end_profile(self) -> Path:
        """Returns the file with the times of all operators of all runs, in Chrome's format."""
        return Path(self._session.end_profiling())


def run_within(
    seconds: float | None,
    session: 'InferenceSession',
    names: Sequence[str] | None,
    inputs: Arrays,
    path: str | Path,
) -> list[np.ndarray]:
    """Runs a session of ONNX Runtime once, which is stopped between two operators if it takes long.

    Args:
        seconds: How long it may take; None for no limit.
        session: What to run.
        names: Outputs to compute; None for all.
        inputs: By name.
        path: The session's file, for the message.

    Raises:
        TimedOut: If it takes longer.
    """
    from onnxruntime import RunOptions

    options = RunOptions()
    options.log_severity_level = SILENT
    timer = Timer(seconds or 0, setattr, (options, 'terminate', True))
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        return session.run(names, inputs, options)
    except Exception as error:  # ONNX Runtime has one class for each kind
        if options.terminate:
            raise TimedOut(
                f'{path}: a run took more than {seconds:g} seconds and was stopped. Give it more '
                'time, or smaller images, or check the file: its graph may have no end.'
            ) from error
        raise
    finally:
        timer.cancel()


def has_cuda() -> bool:
    """Whether the installed ONNX Runtime computes on GPUs."""
    import onnxruntime

    return 'CUDAExecutionProvider' in onnxruntime.get_available_providers()


def _failure(path: str | Path, error: Exception, what: str) -> UserError:
    """What to tell of an error of ONNX Runtime."""
    text = str(error)
    if not isinstance(error, MemoryError) and not any(words in text for words in MEMORY):
        return UserError(f'{what} {text}')
    size = re.search(r'buffer of size (\d+)', text)
    asked = f' ({int(size[1]) / 1e9:.1f} GB at once)' if size else ''
    return NoMemory(
        f'{path}: the graph asks for more memory than there is{asked}. Give it fewer or smaller '
        'images at once, or check the file.'
    )


def _tensor(value: Any) -> Tensor:
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in value.shape)
    kind = value.type.removeprefix('tensor(').removesuffix(')')
    dtypes = {'float': 'float32', 'double': 'float64', 'string': 'object', 'bfloat16': 'uint16'}
    try:
        return Tensor(value.name, shape, np.dtype(dtypes.get(kind, kind)))
    except TypeError:  # a sequence, a map, or of 8 bits or fewer
        return Tensor(value.name, shape, np.dtype(object))
