"""Opening of a graph by the suffix of its file."""

from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
from .base import Session, device_number
from .onnx import OnnxSession

ENGINES = '.engine', '.plan', '.trt'
GRAPHS = '.onnx', *ENGINES


def no_timeout(path: str | Path, runner: str) -> UserError:
    """What to tell where a timeout is asked for and nothing can keep it."""
    return UserError(f'{path}: {runner} cannot stop a run. Leave the timeout out.')


def open_engine(path: Path, device: str | None = None) -> Session:
    """Opens a TensorRT engine with cuda-python's memory.

    Args:
        path: The file.
        device: ``'cuda:0'``, ...; default: the first GPU.

    Raises:
        UserError: If it cannot be loaded.
    """
    from .cuda_memory import CudaMemory
    from .tensorrt import TensorRTSession

    return TensorRTSession(path, CudaMemory(device_number(device or 'cuda:0')))


def open_session(
    path: str | Path,
    device: str | None = None,
    threads: int = 0,
    timeout: float | None = None,
    *,
    engines: Callable[[Path, str | None], Session] = open_engine,
) -> Session:
    """Loads a graph by the suffix of its file.

    Args:
        path: An ``.onnx`` file, or a TensorRT engine: ``.engine``, ``.plan`` or ``.trt``.
        device: ``'cpu'`` or ``'cuda:0'``; default: the CPU for ONNX files, and the first GPU for
            engines, which run on no CPU.
        threads: Threads of one operator on the CPU; 0 for one per core.
        timeout: Most seconds of a run of an ONNX file; an engine cannot be stopped.
        engines: Opens an engine on a device, as :func:`open_engine` does.

    Raises:
        UserError: If it cannot be loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f'there is no model {path}. Copy the whole work dir that tools/deploy.py wrote.'
        )
    if path.suffix in ENGINES:
        if timeout is not None:
            raise no_timeout(path, 'TensorRT')
        return engines(path, device)
    if path.suffix != '.onnx':
        raise UserError(f'{path}: expected a model *{", *".join(GRAPHS)}.')
    return OnnxSession(path, device or 'cpu', threads, timeout)
