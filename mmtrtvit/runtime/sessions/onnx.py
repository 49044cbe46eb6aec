"""ONNX files in ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .base import Arrays, Tensor, any_shape, checked, device_number


class OnnxSession:
    """An ONNX file in ONNX Runtime.

    Args:
        path: The file.
        device: ``'cpu'``, or ``'cuda:0'`` with onnxruntime-gpu.
        threads: Threads of one operator; 0 for one per core.

    Raises:
        UserError: If ONNX Runtime or the device is not there, or the file cannot be run.
    """

    backend = 'onnxruntime'

    def __init__(self, path: str | Path, device: str = 'cpu', threads: int = 0) -> None:
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
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime has one class for each kind
            raise UserError(
                f'{path} cannot be run by ONNX Runtime: is it whole? {error}'
            ) from error
        self.inputs = tuple(map(_tensor, self._session.get_inputs()))
        self.outputs = tuple(map(_tensor, self._session.get_outputs()))
        self.profiles = any_shape(self.inputs)
        self.device = device
        self._path = path

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the graph once.

        Raises:
            UserError: If an input is missing or of another type, or ONNX Runtime fails, as with a
                shape that the graph does not take.
        """
        values = checked(self.inputs, inputs, self._path)
        try:
            values = self._session.run(None, values)
        except Exception as error:  # ONNX Runtime has one class for each kind
            raise UserError(f'{self._path}: ONNX Runtime failed. {error}') from error
        return dict(zip((each.name for each in self.outputs), values))


def has_cuda() -> bool:
    """Whether the installed ONNX Runtime computes on GPUs."""
    import onnxruntime

    return 'CUDAExecutionProvider' in onnxruntime.get_available_providers()


def _tensor(value: Any) -> Tensor:
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in value.shape)
    kind = value.type.removeprefix('tensor(').removesuffix(')')
    dtypes = {'float': 'float32', 'double': 'float64', 'string': 'object', 'bfloat16': 'uint16'}
    try:
        return Tensor(value.name, shape, np.dtype(dtypes.get(kind, kind)))
    except TypeError:  # a sequence, a map, or of 8 bits or fewer
        return Tensor(value.name, shape, np.dtype(object))
