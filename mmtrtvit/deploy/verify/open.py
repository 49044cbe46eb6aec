"""Opens a model for inference, whatever it was saved as."""

from pathlib import Path

import torch

from ...errors import UserError
from ...runtime.sessions.onnx import has_cuda
from ...runtime.sessions.opening import ENGINES
from ..settings import DeploySettings
from .runners import OnnxRunner, Runner, TorchRunner
from .tensorrt_runner import TensorRTRunner

GRAPHS = '.onnx', *ENGINES


def open_graph(path: str | Path, device: str | None = None, threads: int = 0) -> Runner:
    """Opens an ONNX file or an engine.

    Args:
        path: ``*.onnx``, or ``*.engine``, ``*.plan`` or ``*.trt``.
        device: ``'cpu'`` or ``'cuda:0'``; default: the first GPU, or the CPU where there is none or
            ONNX Runtime has no CUDA. An engine runs on the first GPU where it says cpu.
        threads: Threads of one operator on the CPU; 0 for one per core.

    Raises:
        UserError: If the file or the device cannot be used.
    """
    if Path(path).suffix in ENGINES:
        return TensorRTRunner(path, 'cuda:0' if device in (None, 'cpu') else device)
    if Path(path).suffix not in GRAPHS:
        raise UserError(f'{path} is none of {", ".join(f"*{end}" for end in GRAPHS)}.')
    if device is None:
        device = 'cuda:0' if torch.cuda.is_available() and has_cuda() else 'cpu'
    return OnnxRunner(path, device, threads)


def open_checkpoint(config: str | Path, checkpoint: str | Path, device: str = 'cpu') -> TorchRunner:
    """Opens weights as the module that ``tools/deploy.py`` would export, in PyTorch.

    Args:
        config: Config of the model.
        checkpoint: Its weights, or the work dir of its training.
        device: ``'cpu'`` or ``'cuda:0'``.

    Raises:
        UserError: If the config or the weights cannot be used, or the model cannot be exported.
    """
    from ...engine.predictor import load
    from ...models import fuse
    from ..export import support

    model = load(config, checkpoint, device=device).model
    settings = DeploySettings()
    support.check(model, settings)
    module = support.module_to_export(fuse(model), settings)
    names = ('input', 'sizes') if 'dets' in module.output_names else ('input',)
    return TorchRunner(module, names, device)
