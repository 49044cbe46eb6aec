"""TensorRT as a backend."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np

from ....runtime.sessions.base import Session
from ....runtime.sessions.opening import no_timeout
from ....runtime.sessions.tensorrt import TensorRTSession
from ...graphs.layer_times import LayerTime
from ...settings import DYNAMO, TORCHSCRIPT, DeploySettings
from ..backend import Backend, Batches, Refusal
from .options import read_options
from .torch_memory import TorchMemory

# The least release that takes an exporter's opset, or FP8.
RELEASES = {TORCHSCRIPT: '8.6', DYNAMO: '10.0', 'fp8': '10.0'}


class TensorRT(Backend):
    """Builds an engine of the ONNX file, for the GPU that it is built on."""

    name = 'tensorrt'
    title = 'TensorRT'
    precisions = ('fp32', 'fp16', 'bf16', 'int8', 'fp8')
    rests = ('fp16',)
    options = (
        'max_workspace_size',
        'builder_optimization_level',
        'hardware_compatibility',
        'version_compatible',
        'tf32',
        'weights',
        'dla_core',
    )
    suffix = '.engine'
    needs = 'a GPU and TensorRT for the engine'
    product = 'engine'
    packages = ('tensorrt',)
    float_weights = ('int8',)  # TensorRT before 10

    def onnx_precision(self, precision: str) -> str:
        """Single for BF16, which TensorRT chooses itself."""
        return 'fp32' if precision == 'bf16' else precision

    def refusal(self, path: Path, settings: DeploySettings) -> Refusal | None:
        """What the parser of the least release that knows the file's ops would not take."""
        from .rules import check_graph

        release = RELEASES['fp8' if settings.precision == 'fp8' else settings.exporter]
        problems = check_graph(path, release)
        return Refusal(f'TensorRT {release}', list(map(str, problems))) if problems else None

    def build(
        self,
        source: Path,
        target: Path,
        *,
        settings: DeploySettings,
        batches: Callable[[], Batches],
        progress: Callable[[str], None],
    ) -> list[str]:
        """See :func:`~.build.build_engine`."""
        from .build import build_engine

        options, profiles = read_options(settings)
        report = build_engine(source, target, options=options, profiles=profiles, progress=progress)
        return report.notes

    def open(
        self,
        path: Path,
        device: str | None = None,
        threads: int = 0,
        timeout: float | None = None,
        *,
        trusted: bool = False,
    ) -> Session:
        """See :func:`open_engine`; an engine cannot be stopped."""
        if timeout is not None:
            raise no_timeout(path, self.title)
        return open_engine(path, device, host_code=trusted)

    def layer_times(
        self,
        session: Session,
        path: Path,
        inputs: Mapping[str, np.ndarray],
        *,
        rounds: int,
        warmup: int,
        threads: int = 0,
        timeout: float | None = None,
    ) -> list[LayerTime]:
        """Times by TensorRT's profiler."""
        from .layers import engine_layers

        engine = cast(TensorRTSession, session)
        return engine_layers(engine.time_layers(inputs, warmup + rounds)[warmup:], engine.layers())


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


BACKEND = TensorRT()
