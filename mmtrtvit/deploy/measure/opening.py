"""Opening of a benchmark's models, with or without what comes before and after their networks."""

from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ...engine.predictor import load
from ...errors import UserError
from ...runtime import read_work_dir
from ...runtime.sessions.base import Session
from ...runtime.sessions.opening import no_timeout
from ..backends.registry import backend_of
from ..verify.open import open_checkpoint, open_graph
from .pipelines import Pipeline, of_predictor, of_runtime, of_timm
from .sources import Source
from .timm_classifier import TimmClassifier, open_timm


@dataclass(frozen=True)
class Running:
    """Where and how models run.

    Attributes:
        device: Where weights and ONNX files run; engines run on a GPU.
        threads: Threads of one operator on the CPU; 0 for one per core.
        timeout: Most seconds of a run; only ONNX files can be stopped.
        precision: What weights compute in, see :func:`mmtrtvit.engine.precision.in_precision`;
            default: the fused copy in single precision, and timm's models as they are.
    """

    device: str = 'cpu'
    threads: int = 0
    timeout: float | None = None
    precision: str | None = None


def check(sources: list[Source], running: Running) -> None:
    """Refuses what cannot be done with any of the models.

    Raises:
        UserError: If a precision is asked for and all are exported, or a timeout of PyTorch.
    """
    if running.precision and all(source.kind == 'file' for source in sources):
        raise UserError('--precision is for weights; what is exported stays as it is.')
    for source in sources:
        if running.timeout is not None and source.kind != 'file':
            raise no_timeout(source.name, 'PyTorch')


def import_runtime(source: Source, running: Running) -> None:
    """Imports what runs an exported file, so that opening it takes its own memory alone."""
    if source.kind == 'file':
        with suppress(ImportError):
            import_module(backend_of(source.target, running.device).packages[0])


def open_session_of(source: Source, running: Running) -> Session:
    """Opens a model's network.

    Raises:
        UserError: If that is not possible.
    """
    if source.kind == 'timm':
        return open_timm(source.target, running.device, running.precision)
    if source.kind == 'file':
        return _open_file(source, running)
    return open_checkpoint(
        str(source.config), _weights(source), running.device, running.precision or 'fp32'
    )


def open_pipeline_of(source: Source, running: Running) -> Pipeline:
    """Opens a model with what comes before and after its network.

    Raises:
        UserError: If that is not possible.
    """
    if source.kind == 'timm':
        return of_timm(TimmClassifier(source.target, running.precision), running.device)
    if source.kind == 'file':
        folder = Path(source.target).parent
        try:
            read_work_dir(folder)
        except UserError as error:
            raise UserError(
                f'{source.name} cannot be timed on --images, as nothing says how to prepare them: '
                f'{error}'
            ) from error
        return of_runtime(folder, _open_file(source, running))
    return of_predictor(
        load(
            str(source.config),
            _weights(source),
            running.device,
            precision=running.precision or 'fp32',
        )
    )


def _open_file(source: Source, running: Running) -> Session:
    return open_graph(source.target, running.device, running.threads, running.timeout)


def _weights(source: Source) -> str | None:
    return source.target if source.kind == 'weights' else None
