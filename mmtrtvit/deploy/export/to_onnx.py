"""Writing of a module as one ONNX file."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ...environment import require_torch
from ...files import whole_file
from ..graphs.half import sum_in_float
from ..graphs.nodes import name_nodes
from ..graphs.slim import add_metadata, name_axes, slim, strip
from ..graphs.steps import hide
from ..settings import DYNAMO, EXPORTERS, TORCHSCRIPT
from .lowering import register_for_torchscript, translations_for_dynamo


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        nodes: Number of nodes of its graph.
        megabytes: Its size.
        exported_nodes: Number of nodes that the exporter wrote, before slimming.
        exported_megabytes: Size of what it wrote.
    """

    path: Path
    nodes: int
    megabytes: float
    exported_nodes: int
    exported_megabytes: float


def export(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    *,
    path: str | Path,
    output_names: Sequence[str],
    inner: Sequence[str] = (),
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    exporter: str = TORCHSCRIPT,
    slimmed: bool = True,
    metadata: Mapping[str, Any] | None = None,
) -> Exported:
    """Exports a module to ONNX; the file appears when it is whole.

    Args:
        module: The module, in eval mode.
        inputs: Example of each input by name.
        path: The file to write.
        output_names: Names of what the module returns.
        inner: Those of them that are no outputs of the file, but tensors in its graph.
        dynamic_axes: Name of each axis of each input and output that may have another size.
        exporter: ``'torchscript'`` (opset 17) or ``'dynamo'`` (opset 18). The latter takes what is
            equal or one in the example for constant: show it an image of 480 pixels or more.
        slimmed: Whether to simplify the graph, see :func:`.slim.slim`.
        metadata: What else the file says of itself, see :func:`.slim.add_metadata`.

    Raises:
        UserError: If onnxslim is needed and missing, or this PyTorch does not have the exporter.
    """
    require_exporter(exporter)
    path = Path(path)
    dynamic_axes = dynamic_axes or {}
    with whole_file(path) as part:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # PyTorch's, about sizes that do not change
            sizes = _export(module, inputs, part, output_names, dynamic_axes, exporter)
        before = part.stat().st_size
        model = onnx.load(part)
        exported_nodes = len(model.graph.node)
        if exporter == DYNAMO:
            name_nodes(model)
        if slimmed:
            model = slim(model)
        hide(model, inner)
        strip(model)
        sum_in_float(model)
        name_axes(model, dynamic_axes, sizes)
        add_metadata(model, metadata or {})
        onnx.save(model, part)
    return Exported(
        path, len(model.graph.node), path.stat().st_size / 1e6, exported_nodes, before / 1e6
    )


def require_exporter(exporter: str) -> None:
    """Refuses an exporter that the installed PyTorch does not have, or that fails there.

    Raises:
        UserError: If that is so.
    """
    if exporter == DYNAMO:
        require_torch('2.7', f'onnx_config.exporter={DYNAMO!r}')


def _export(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    part: Path,
    output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]],
    exporter: str,
) -> dict[str, list[int]]:
    """Writes the file and returns the shapes of the outputs where the graph does not say them."""
    opset = EXPORTERS[exporter]
    options = dict(input_names=list(inputs), output_names=list(output_names), opset_version=opset)
    names = inspect.signature(torch.onnx.export).parameters
    sizes = {}
    if exporter == TORCHSCRIPT:
        register_for_torchscript(opset)
        if 'dynamo' in names:
            options['dynamo'] = False

        def note_sizes(module: nn.Module, inputs: Any, outputs: Sequence[Tensor]) -> None:
            sizes.update(
                {name: [int(side) for side in x.shape] for name, x in zip(output_names, outputs)}
            )

        handle = module.register_forward_hook(note_sizes)
        try:
            torch.onnx.export(
                module, tuple(inputs.values()), str(part), dynamic_axes=dynamic_axes, **options
            )
        finally:
            handle.remove()
    else:
        shapes = tuple(
            {axis: torch.export.Dim.DYNAMIC for axis in dynamic_axes.get(name, {})}
            for name in inputs
        )
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            dynamic_shapes=shapes,
            dynamo=True,
            custom_translation_table=translations_for_dynamo(),
            **options,
        )
        program.save(str(part))
    return sizes
