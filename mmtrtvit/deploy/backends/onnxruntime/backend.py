"""ONNX Runtime as a backend."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ....models.fast.onnxruntime import for_onnxruntime
from ....runtime.sessions.base import Session
from ....runtime.sessions.onnx import has_cuda
from ...graphs.layer_times import LayerTime
from ...settings import DeploySettings
from ..backend import Backend


class OnnxRuntime(Backend):
    """Runs the ONNX file itself, on the CPU or with onnxruntime-gpu on a GPU."""

    name = 'onnxruntime'
    title = 'ONNX Runtime'
    precisions = ('fp32', 'fp16', 'int8', 'fp8')
    packages = ('onnxruntime',)

    def prepare(self, fused: nn.Module, settings: DeploySettings) -> nn.Module:
        """Takes the operators that are fastest in single precision; others gain nothing by them."""
        return for_onnxruntime(fused) if settings.precision == 'fp32' else fused

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
