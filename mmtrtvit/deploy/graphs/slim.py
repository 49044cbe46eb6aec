"""Slimming of an exported graph: fewer nodes, readable names, and metadata in the file."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from ...errors import UserError
from ...version import __version__


def slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the graph with constants folded, copies merged and idle nodes removed, by onnxslim.

    Raises:
        UserError: If onnxslim is missing.
    """
    try:
        import onnxslim
    except ImportError as error:
        raise UserError(
            'onnxslim, which makes the graph smaller, is not installed: '
            "pip install 'mmtrtvit[deploy]', or set onnx_config.slim=False."
        ) from error
    return onnxslim.slim(model)


def strip(model: onnx.ModelProto) -> None:
    """Removes, in place, what exporters say of source files and of tensors within."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    model.ClearField('doc_string')
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField('doc_string')
    for value in [*model.graph.input, *model.graph.output]:
        del value.metadata_props[:]


def name_axes(
    model: onnx.ModelProto,
    dynamic_axes: Mapping[str, Mapping[int, str]],
    sizes: Mapping[str, Sequence[int]],
) -> None:
    """Writes, in place, the axes of inputs and outputs: a name, or the size that never changes.

    Args:
        model: The model.
        dynamic_axes: Names of the axes that may have another size, by tensor.
        sizes: Shapes that were seen, by tensor; for the other axes, where the graph has none.
    """
    for value in [*model.graph.input, *model.graph.output]:
        names = dynamic_axes.get(value.name, {})
        for axis, side in enumerate(value.type.tensor_type.shape.dim):
            if axis in names:
                side.dim_param = names[axis]
            elif not side.HasField('dim_value') and value.name in sizes:
                side.dim_value = sizes[value.name][axis]


def add_metadata(model: onnx.ModelProto, metadata: Mapping[str, Any]) -> None:
    """Writes, in place, who made the file and what it is for.

    Args:
        model: The model.
        metadata: Values by key, e.g. ``task`` and ``classes``; other values than strings are
            written as JSON. ONNX Runtime returns them as ``get_modelmeta().custom_metadata_map``.
    """
    model.producer_name, model.producer_version = 'mmtrtvit', __version__
    known = {entry.key: entry.value for entry in model.metadata_props}
    texts = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }
    onnx.helper.set_model_props(model, known | texts)
