"""Makes an exported graph small and readable, and says in the file what it is."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from ...errors import UserError
from ...version import __version__

# Where the dynamo exporter notes the modules that a node comes from.
SCOPES = 'pkg.torch.onnx.name_scopes'


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


def name_nodes(model: onnx.ModelProto) -> None:
    """Names the nodes of the dynamo exporter, in place, after the modules that they come from.

    The exporter of traced modules does so itself: ``/backbone/stem/stem.0/conv/Conv``.
    """
    counts = Counter()
    for node in model.graph.node:
        scope = _scope(node)
        if scope is None:
            continue
        name = '/'.join(['', *scope.split('.'), node.op_type] if scope else ['', node.op_type])
        counts[name] += 1
        node.name = name if counts[name] == 1 else f'{name}_{counts[name] - 1}'


def _scope(node: onnx.NodeProto) -> str | None:
    """The innermost module of a node, or None where the exporter says nothing of it."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            modules = json.loads(entry.value.replace("'", '"'))[:-1]
            return modules[-1] if modules and not modules[-1].startswith('_') else ''
    for name in node.input:  # a layer that the exporter has merged from two
        module, dot, parameter = name.rpartition('.')
        if dot and parameter in ('weight', 'bias'):
            return module
    return None


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
        metadata: Values by key, e.g. ``task`` and ``classes``; what is no string is written as
            JSON. ONNX Runtime returns them as ``get_modelmeta().custom_metadata_map``.
    """
    model.producer_name, model.producer_version = 'mmtrtvit', __version__
    known = {entry.key: entry.value for entry in model.metadata_props}
    texts = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }
    onnx.helper.set_model_props(model, known | texts)
