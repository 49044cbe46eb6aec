"""ONNX Runtime as a backend."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ....errors import UserError
from ....models.fast.onnxruntime import for_onnxruntime
from ....runtime.sessions.base import Session
from ....runtime.sessions.onnx import has_cuda
from ...graphs.layer_times import LayerTime
from ...settings import DeploySettings
from ..backend import Backend, Batches
from .processors import OPTION, PROCESSORS, this_processor

if TYPE_CHECKING:
    from ...graphs.quantize import Quantizer


class OnnxRuntime(Backend):
    """Runs the ONNX file itself, on the CPU or with onnxruntime-gpu on a GPU."""

    name = 'onnxruntime'
    title = 'ONNX Runtime'
    precisions = ('fp32', 'fp16', 'int8', 'fp8')
    options = (OPTION,)
    packages = ('onnxruntime',)
    shapes_by_values = True

    def check(self, settings: DeploySettings) -> None:
        """Refuses a processor that is not known."""
        processor = settings.common.get(OPTION, this_processor())
        if processor not in PROCESSORS:
            raise UserError(
                f'backend_config.common_config.{OPTION} is {processor!r}, expected one of: '
                f'{", ".join(PROCESSORS)}.'
            )

    def meant_for(self, settings: DeploySettings) -> str:
        """Only INT8 depends on the processor."""
        family = PROCESSORS[settings.common.get(OPTION, this_processor())].family
        here = PROCESSORS[this_processor()].family
        return family if settings.precision == 'int8' and family != here else ''

    def prepare(self, fused: nn.Module, settings: DeploySettings) -> nn.Module:
        """Takes the operators that are fastest in FP32 and INT8; others gain nothing by them."""
        return for_onnxruntime(fused) if settings.precision in ('fp32', 'int8') else fused

    def quantizer(
        self,
        source: Path,
        *,
        batches: Batches,
        settings: DeploySettings,
        timeout: float | None = None,
        called: Path | None = None,
    ) -> 'Quantizer':
        """In INT8, what keeps whole chains of layers in it; see :mod:`.quantize`."""
        if settings.precision != 'int8':
            return super().quantizer(
                source, batches=batches, settings=settings, timeout=timeout, called=called
            )
        from .quantize import ChainQuantizer

        return ChainQuantizer(
            source,
            batches=batches,
            calibration=settings.calibration,
            processor=settings.common.get(OPTION, this_processor()),
            timeout=timeout,
            called=called,
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
        """Opens an ONNX file, by default on the first GPU where ONNX Runtime has CUDA."""
        if device is None:
            device = 'cuda:0' if torch.cuda.is_available() and has_cuda() else 'cpu'
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
        """See :func:`~.layers.onnx_layers`: on the CPU."""
        from .layers import onnx_layers

        return onnx_layers(
            path, inputs, rounds=rounds, warmup=warmup, threads=threads, timeout=timeout
        )


BACKEND = OnnxRuntime()
