"""Opening of a model for inference: weights, an ONNX file or an engine."""

from pathlib import Path

import torch

from ...runtime.sessions.base import Session
from ...runtime.sessions.onnx import has_cuda
from ...runtime.sessions.opening import open_session
from ...runtime.sessions.tensorrt import TensorRTSession
from ..settings import DeploySettings
from .torch_memory import TorchMemory
from .torch_session import TorchSession


def open_graph(
    path: str | Path,
    device: str | None = None,
    threads: int = 0,
    timeout: float | None = None,
) -> Session:
    """Opens an ONNX file or an engine, the latter with PyTorch's memory.

    Args:
        path: ``*.onnx``, or ``*.engine``, ``*.plan`` or ``*.trt``.
        device: ``'cpu'`` or ``'cuda:0'``; default: the first GPU, or the CPU where there is none or
            ONNX Runtime has no CUDA. An engine runs on the first GPU where it says cpu.
        threads: Threads of one operator on the CPU; 0 for one per core.
        timeout: Most seconds of a run of an ONNX file; an engine cannot be stopped.

    Raises:
        UserError: If the file or the device cannot be used.
    """
    if device is None:
        device = 'cuda:0' if torch.cuda.is_available() and has_cuda() else 'cpu'
    return open_session(path, device, threads, timeout, engines=open_engine)


def open_engine(
    path: str | Path, device: str | None = None, *, host_code: bool = False
) -> TensorRTSession:
    """Opens an engine with PyTorch's memory, on the first GPU where the device is the CPU or None.

    Args:
        path: The engine.
        device: ``'cuda:0'``, ...
        host_code: Whether it may hold code for the host, as one that was just built here.

    Raises:
        UserError: See :class:`TensorRTSession`.
    """
    memory = TorchMemory(device if device and device != 'cpu' else 'cuda:0')
    return TensorRTSession(path, memory, host_code=host_code)


def open_checkpoint(
    config: str | Path, checkpoint: str | Path, device: str = 'cpu', precision: str = 'fp32'
) -> TorchSession:
    """Opens weights as the module that ``tools/deploy.py`` would export, in PyTorch.

    Args:
        config: Config of the model.
        checkpoint: Its weights, or the work dir of its training.
        device: ``'cpu'`` or ``'cuda:0'``.
        precision: What it computes in, see :func:`mmtrtvit.engine.precision.in_precision`.

    Raises:
        UserError: If the config or the weights cannot be used, or the model cannot be exported.
    """
    from ...engine.predictor import load
    from ..export import support

    model = load(config, checkpoint, device=device, precision=precision).model
    settings = DeploySettings()
    support.check(model, settings)
    return TorchSession(support.module_to_export(model, settings), device)
