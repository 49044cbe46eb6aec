"""Opening of a model for inference: weights, or a file that some backend runs."""

from pathlib import Path

from ...runtime.sessions.base import Session
from ..backends.registry import backend_of
from ..settings import DeploySettings
from .torch_session import TorchSession


def open_graph(
    path: str | Path,
    device: str | None = None,
    threads: int = 0,
    timeout: float | None = None,
) -> Session:
    """Opens an exported file in its backend, see :meth:`~..backends.backend.Backend.open`.

    Args:
        path: A file with one of the suffixes of :data:`mmtrtvit.runtime.sessions.opening.GRAPHS`.
        device: ``'cpu'`` or ``'cuda:0'``; default: the first GPU, or the CPU where there is none or
            the backend has no CUDA. An engine runs on the first GPU where it says cpu.
        threads: Threads of one operator on the CPU; 0 for one per core.
        timeout: Most seconds of a run, of a backend that can stop one.

    Raises:
        UserError: If the file or the device cannot be used.
    """
    return backend_of(path, device).open(Path(path), device, threads, timeout)


def open_checkpoint(
    config: str | Path,
    checkpoint: str | Path | None,
    device: str = 'cpu',
    precision: str = 'fp32',
) -> TorchSession:
    """Opens weights as the module that ``tools/deploy.py`` would export, in PyTorch.

    Args:
        config: Config of the model.
        checkpoint: Its weights, or the work dir of its training; None for random ones.
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
