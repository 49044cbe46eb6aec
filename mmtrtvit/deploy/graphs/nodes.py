"""Names of nodes: writing them, and reading from them which module of the model a node belongs to.

``/backbone/stem/0/conv/Conv_1`` is the second Conv of the module ``backbone.stem.0.conv``: a slash
first, the module, the operator, and a number where it is not the first of its kind. Nodes of no
module, as those of post-processing, are ``/Conv_1``. The exporter of traced modules writes such
names itself, but repeats a container before the number within it:
``/backbone/stem/stem.0/conv/Conv``. Runtimes merge nodes into layers, whose names hold those of the
nodes.
"""

import json
import re
from collections import Counter
from itertools import takewhile

import onnx

# Where the dynamo exporter notes the modules that a node comes from.
SCOPES = 'pkg.torch.onnx.name_scopes'
# The attribute of WithPreprocessing that holds the network and its post-processing.
WRAPPED = 'model'
NODE = re.compile(r'/\w+(?:[./]\w+)*')
IN_METADATA = re.compile(r'\[ONNX Layer: ([^\]]+)\]')  # TensorRT's


def name_nodes(model: onnx.ModelProto) -> None:
    """Names the nodes of the dynamo exporter, in place, after the modules that they come from."""
    counts: Counter[str] = Counter()
    for node in model.graph.node:
        scope = _scope(node)
        if scope is None:
            continue
        modules = scope.split('.') if scope else []
        name = '/'.join(['', *modules, node.op_type])
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


def module_of(node: str) -> tuple[str, ...]:
    """``'/backbone/stem/stem.0/conv/Conv'`` as ``('backbone', 'stem', '0', 'conv')``.

    Unlike modules, operators begin with a capital letter. Names without a slash in front say
    nothing of modules. A module around all of a model, :data:`WRAPPED`, is left out.
    """
    if not node.startswith('/'):
        return ()
    scopes = list(takewhile(lambda scope: not scope[:1].isupper(), node.strip('/').split('/')))
    kept = [
        scope
        for scope, inner in zip(scopes, [*scopes[1:], ''])
        if not inner.startswith(f'{scope}.')
    ]
    parts = tuple(part for scope in kept for part in scope.split('.'))
    return parts[1:] if parts[:1] == (WRAPPED,) else parts


def nodes_of_layer(name: str, metadata: str = '') -> list[str]:
    """Returns the names of the nodes that a runtime has merged into a layer.

    Args:
        name: The runtime's name of the layer, which has theirs in it.
        metadata: What TensorRT's inspector says of the layer; of more weight than its name.
    """
    nodes = [node for node in IN_METADATA.findall(metadata) if node.startswith('/')]
    return nodes or NODE.findall(name)
