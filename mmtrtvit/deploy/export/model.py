"""Export of a model: its fused copy, its example inputs and its dynamic axes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...models import fuse
from ...runtime.pipeline import Resize
from ...runtime.sessions.base import SIZES
from ..backends.registry import find_backend
from ..graphs.steps import CLASS_LOGITS, MAPS
from ..settings import DYNAMO, TORCHSCRIPT, DeploySettings
from . import support
from .precision import half
from .preprocessing import WithPreprocessing
from .to_onnx import Exported, export

# Trace a graph of any size: dynamo takes small maps for constant, and tracing runs the model, which
# takes PyTorch minutes at 480 x 640 on a CPU in half precision.
EXAMPLE_SIZES = {TORCHSCRIPT: (96, 128), DYNAMO: (480, 640)}


def export_model(
    model: nn.Module,
    settings: DeploySettings,
    *,
    path: Path,
    device: str = 'cpu',
    metadata: Mapping[str, Any] | None = None,
    resize: Resize | None = None,
) -> Exported:
    """Writes a model's fused copy as an ONNX file; :func:`~.support.check` the model first.

    INT8 and FP8 are not for here: they need the file of single precision.

    Args:
        model: The model.
        settings: What to make of it.
        path: The file to write.
        device: Where the model runs to be traced.
        metadata: What the file says of itself.
        resize: How the graph resizes images, if it does; see :func:`~.resizing.pipeline_resize`.
    """
    backend = find_backend(settings.backend)
    fused = backend.prepare(fuse(model), settings)
    module = support.module_to_export(fused, settings).to(device)
    if backend.onnx_precision(settings.precision) == 'fp16':
        module = half(module)
    module.output_names = (*module.output_names, *module.step_names)
    inner = module.step_names
    if settings.preprocessing:
        module = WithPreprocessing(module, model.data_preprocessor, resize).to(device).eval()
    inputs = {name: x.to(device) for name, x in example_inputs(module, settings).items()}
    return export(
        module,
        inputs,
        path=path,
        output_names=module.output_names,
        inner=inner,
        dynamic_axes=dynamic_axes(module, settings),
        exporter=settings.exporter,
        slimmed=settings.slim,
        metadata=metadata,
    )


def example_inputs(module: nn.Module, settings: DeploySettings) -> dict[str, torch.Tensor]:
    """Inputs to trace a graph with: of the graph's size, or of a usual one."""
    height, width = settings.input_shape or EXAMPLE_SIZES[settings.exporter]
    batch = 2 if settings.dynamic_batch else 1
    generator = torch.Generator().manual_seed(0)
    if settings.preprocessing:
        images = torch.randint(256, (batch, height, width, 3), generator=generator)
        inputs = {'input': images.to(torch.uint8)}
    else:
        inputs = {'input': torch.randn(batch, 3, height, width, generator=generator)}
    if 'dets' in module.output_names and not settings.resizing:
        inputs[SIZES] = torch.tensor([[height, width]] * batch, dtype=torch.float32)
    return inputs


def dynamic_axes(module: nn.Module, settings: DeploySettings) -> dict[str, dict[int, str]]:
    """Names of the axes that may change, of the inputs and of the outputs."""
    batch = {0: 'batch'} if settings.dynamic_batch else {}
    first = 1 if settings.preprocessing else 2
    size = {first: 'height', first + 1: 'width'} if settings.dynamic_size else {}
    axes = {'input': {**batch, **size}, SIZES: batch}
    for name in module.output_names:
        axes[name] = batch
        if name.startswith(MAPS) and settings.dynamic_size:
            axes[name] = {**batch, 2: f'{name} rows', 3: f'{name} columns'}
        if name == 'output' and settings.dynamic_size and CLASS_LOGITS not in module.output_names:
            first = 1 if settings.with_argmax else 2
            axes[name] = {**batch, first: 'rows', first + 1: 'columns'}
    return axes
