"""OpenVINO as a backend."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
from torch import nn

from ....models.fast.onnxruntime import for_onnxruntime
from ....runtime.sessions.base import Session
from ....runtime.sessions.openvino import OpenVINOSession
from ...graphs.layer_times import LayerTime
from ...settings import DeploySettings
from ..backend import Backend, Batches


class OpenVINO(Backend):
    """Makes a model of OpenVINO of an ONNX file of single precision."""

    name = 'openvino'
    title = 'OpenVINO'
    precisions = ('fp32', 'fp16', 'bf16', 'int8')
    rests = ('bf16',)
    suffix = '.xml'
    companions = ('.bin',)
    needs = 'a CPU and OpenVINO'
    product = 'model'
    packages = ('openvino', 'nncf')
    shapes_by_values = True
    reads_onnx = True

    def onnx_precision(self, precision: str) -> str:
        """Single: OpenVINO and NNCF convert it."""
        return 'fp32'

    def prepare(self, fused: nn.Module, settings: DeploySettings) -> nn.Module:
        """Takes ONNX Runtime's form, which OpenVINO computes faster as well."""
        return for_onnxruntime(fused, least_channels=1)

    def check_here(self, settings: DeploySettings) -> None:
        """See :func:`~.build.require`."""
        from .build import require

        require(settings.precision, settings.calibration)

    def build(
        self,
        source: Path,
        target: Path,
        *,
        settings: DeploySettings,
        batches: Callable[[], Batches],
        progress: Callable[[str], None],
    ) -> list[str]:
        """See :func:`~.build.build_model`."""
        from .build import build_model

        return build_model(
            source,
            target,
            precision=settings.precision,
            rest=settings.rest,
            calibration=settings.calibration,
            batches=batches,
            progress=progress,
        )

    def open(
        self,
        path: Path,
        device: str | None = None,
        threads: int = 0,
        timeout: float | None = None,
        *,
        trusted: bool = False,
    ) -> Session:
        """Opens an ``.xml`` or ONNX file, on the CPU where the device is a GPU of CUDA."""
        if device is None or device.startswith(('cpu', 'cuda')):
            device = 'openvino'
        return super().open(path, device, threads, timeout)

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
        """Times of the CPU's layers, by OpenVINO's own counters."""
        from .layers import openvino_layers

        device = cast(OpenVINOSession, session).device
        profiled = OpenVINOSession(path, device, threads, profile=True)
        return openvino_layers(profiled.layer_times(inputs, warmup + rounds)[warmup:])


BACKEND = OpenVINO()
