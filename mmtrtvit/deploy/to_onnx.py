"""Writes a module as one ONNX file."""

import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .lowering import register_for_torchscript, translations_for_dynamo

EXPORTERS = {'torchscript': 17, 'dynamo': 18}  # the opset that each writes


def export(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    path: str | Path,
    output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    exporter: str = 'torchscript',
) -> Path:
    """Exports a module to ONNX; the file appears when it is whole.

    Args:
        module: The module, in eval mode.
        inputs: Example of each input by name.
        path: The file to write.
        output_names: Names of the outputs.
        dynamic_axes: Name of each axis of each input and output that may have another size.
        exporter: ``'torchscript'`` (opset 17) or ``'dynamo'`` (opset 18). The latter takes what is
            equal or one in the example for constant: show it a picture of 480 pixels or more.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.part')
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # PyTorch's, about sizes that do not change
            _export(module, inputs, part, output_names, dynamic_axes or {}, exporter)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _export(
    module: nn.Module, inputs: Mapping[str, Tensor], part: Path, output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]], exporter: str,
) -> None:
    opset = EXPORTERS[exporter]
    options = dict(
        input_names=list(inputs), output_names=list(output_names), opset_version=opset)
    names = inspect.signature(torch.onnx.export).parameters
    if exporter == 'torchscript':
        register_for_torchscript(opset)
        if 'dynamo' in names:
            options['dynamo'] = False
        torch.onnx.export(
            module, tuple(inputs.values()), str(part), dynamic_axes=dynamic_axes, **options)
    else:
        shapes = tuple(
            {axis: torch.export.Dim.DYNAMIC for axis in dynamic_axes.get(name, {})}
            for name in inputs)
        program = torch.onnx.export(
            module, tuple(inputs.values()), dynamic_shapes=shapes, dynamo=True,
            custom_translation_table=translations_for_dynamo(), **options)
        program.save(str(part))
