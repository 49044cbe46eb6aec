"""ONNX Runtime, OpenVINO and TensorRT as what runs the blocks of :mod:`mmtrtvit.analysis.density`.

Each gets the block's copy for inference as an ONNX file; int8 has ranges of noise.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...analysis.density.runners import Backend, Call, Job, seeded_noise
from ...runtime.sessions.onnx import OnnxSession
from ...runtime.sessions.openvino import OpenVINOSession

OUTPUT = 'output'
EXPORT = 'onnx', 'onnxslim', 'onnxruntime'
INSTALL_EXPORT = "pip install 'mmtrtvit[deploy]'"


class _OneMap(nn.Module):
    """A module with one feature map as its outputs, as the export wants them.

    Args:
        module: Returns a feature map, or several.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """``(B, C, H, W) -> ((B, C', H', W'),)``, the last map."""
        out = self.module(x)
        return (out if isinstance(out, Tensor) else out[-1],)


def _write(job: Job, folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Writes the graph of a job and returns it with its input."""
    from ..export.to_onnx import export
    from ..graphs.quantize import quantize
    from ..settings import Calibration

    module = _OneMap(job.fuse(job.module)).eval()
    x = seeded_noise(job.shape)
    if job.precision == 'fp16':
        module, x = module.half(), x.half()
    path = folder / 'block.onnx'
    export(module, dict(input=x), path=path, output_names=[OUTPUT])
    inputs = dict(input=x.numpy())
    if job.precision == 'int8':
        quantized = folder / 'int8.onnx'
        quantize(path, quantized, batches=[inputs], calibration=Calibration())
        path = quantized
    return path, inputs


def _in_a_folder(open_graph: Callable[[Job, Path, dict[str, np.ndarray]], Call], job: Job) -> Call:
    with tempfile.TemporaryDirectory() as folder:
        return open_graph(job, *_write(job, Path(folder)))


def _onnxruntime(job: Job, path: Path, inputs: dict[str, np.ndarray]) -> Call:
    session = OnnxSession(path, threads=job.threads)
    return partial(session.run, inputs)


def _openvino(job: Job, path: Path, inputs: dict[str, np.ndarray]) -> Call:
    session = OpenVINOSession(path, threads=job.threads, precision=job.precision)
    return partial(session.run, inputs)


def _tensorrt(job: Job, path: Path, inputs: dict[str, np.ndarray]) -> Call:
    from ...runtime.sessions.tensorrt import TensorRTSession
    from ..backends.tensorrt.build import build_engine
    from ..backends.tensorrt.options import EngineOptions
    from ..backends.tensorrt.torch_memory import TorchMemory

    engine = path.with_suffix('.engine')
    build_engine(path, engine, options=EngineOptions(job.precision, timing_cache=False))
    # The stream whose events are the clock.
    memory = TorchMemory(job.device, torch.cuda.current_stream())
    return TensorRTSession(engine, memory).hold(inputs)


GRAPH_BACKENDS = {
    backend.name: backend
    for backend in (
        Backend(
            'onnxruntime',
            dict(cpu=('fp32', 'int8')),
            partial(_in_a_folder, _onnxruntime),
            EXPORT,
            INSTALL_EXPORT,
        ),
        Backend(
            'openvino',
            dict(cpu=('fp32', 'bf16', 'int8')),
            partial(_in_a_folder, _openvino),
            (*EXPORT, 'openvino'),
            "pip install 'mmtrtvit[deploy,openvino]'",
        ),
        Backend(
            'tensorrt',
            dict(cuda=('fp32', 'fp16', 'int8')),
            partial(_in_a_folder, _tensorrt),
            (*EXPORT, 'tensorrt'),
            f'{INSTALL_EXPORT} tensorrt, on the machine that has the GPU',
        ),
    )
}
