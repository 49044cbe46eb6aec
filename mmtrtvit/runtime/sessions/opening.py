"""Opening of a graph: what runs it follows from the suffix of its file, or from the device."""

import os
from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
from .base import Session, device_number
from .onnx import OnnxSession

ONNX = ('.onnx',)
ENGINES = '.engine', '.plan', '.trt'
OPENVINO = ('.xml',)
# What runs a file of a suffix, unless the device names another.
RUNNERS = {
    **dict.fromkeys(ONNX, 'onnxruntime'),
    **dict.fromkeys(ENGINES, 'tensorrt'),
    **dict.fromkeys(OPENVINO, 'openvino'),
}
GRAPHS = tuple(RUNNERS)


def no_timeout(path: str | Path, runner: str) -> UserError:
    """What to tell where a timeout is asked for and nothing can keep it."""
    return UserError(f'{path}: {runner} cannot stop a run. Leave the timeout out.')


def runner_of(path: Path, device: str | None = None) -> str:
    """Name of what runs a file on a device: a key of :data:`OPENERS`.

    Args:
        path: The file, which must be there.
        device: Where it runs.

    Raises:
        UserError: If there is no such file, or nothing runs it.
    """
    if not path.is_file():
        raise UserError(
            f'there is no model {path}. Copy the whole work dir that tools/deploy.py wrote.'
        )
    if path.suffix not in RUNNERS:
        raise UserError(f'{path}: expected a model *{", *".join(GRAPHS)}.')
    if device and device.startswith('openvino') and path.suffix in ONNX:
        return 'openvino'
    return RUNNERS[path.suffix]


def _open_onnx(path: Path, device: str | None, threads: int, timeout: float | None) -> Session:
    return OnnxSession(path, device or 'cpu', threads, timeout)


def _open_engine(path: Path, device: str | None, threads: int, timeout: float | None) -> Session:
    """Opens an engine with cuda-python's memory; threads are for the CPU."""
    if timeout is not None:
        raise no_timeout(path, 'TensorRT')
    from .cuda_memory import CudaMemory
    from .tensorrt import TensorRTSession

    return TensorRTSession(path, CudaMemory(device_number(device or 'cuda:0')))


def _open_openvino(path: Path, device: str | None, threads: int, timeout: float | None) -> Session:
    if timeout is not None:
        raise no_timeout(path, 'OpenVINO')
    from .openvino import OpenVINOSession

    return OpenVINOSession(
        path, device or 'cpu', threads, cache_dir=os.environ.get('MMTRTVIT_OPENVINO_CACHE')
    )


OPENERS: dict[str, Callable[[Path, str | None, int, float | None], Session]] = {
    'onnxruntime': _open_onnx,
    'tensorrt': _open_engine,
    'openvino': _open_openvino,
}


def open_session(
    path: str | Path,
    device: str | None = None,
    threads: int = 0,
    timeout: float | None = None,
) -> Session:
    """Loads a graph; what runs it follows from :func:`runner_of`.

    Args:
        path: An ``.onnx`` file, OpenVINO's ``.xml`` file, or a TensorRT engine: ``.engine``,
            ``.plan`` or ``.trt``.
        device: ``'cpu'`` or ``'cuda:0'``; ``'openvino'``, ``'openvino:GPU'``, ... for ONNX files in
            OpenVINO, too. Default: the CPU, and the first GPU for engines, which run on no CPU.
        threads: Threads of one operator on the CPU; 0 for one per core.
        timeout: Most seconds of a run in ONNX Runtime; others cannot be stopped.

    Raises:
        UserError: If it cannot be loaded.
    """
    path = Path(path)
    return OPENERS[runner_of(path, device)](path, device, threads, timeout)
