"""Names of nodes, written and read."""

import pytest
from onnx import helper

from mmtrtvit.deploy.graphs.nodes import SCOPES, module_of, name_nodes, nodes_of_layer


@pytest.mark.parametrize(
    'node, module',
    [
        ('/backbone/stem/stem.0/conv/Conv', 'backbone.stem.0.conv'),  # of traced modules
        ('/backbone/stem/0/conv/Conv', 'backbone.stem.0.conv'),  # of torch.export
        ('/backbone/stages.0.1/Relu_2', 'backbone.stages.0.1'),
        ('/mlp/mlp.1/mlp.1.0/MatMul', 'mlp.1.0'),
        ('/heads.0/MatMul_3/MatmulTransposeFusion/', 'heads.0'),
        ('/neck/Conv', 'neck'),
        ('/model/backbone/stem/stem.0/Conv', 'backbone.stem.0'),  # behind preprocessing
        ('/model/NonMaxSuppression', ''),
        ('/Concat_7', ''),
        ('node_conv2d_3', ''),
        ('(Unnamed Layer* 5) [Shuffle]', ''),
    ],
)
def test_the_module_of_a_node(node, module):
    assert '.'.join(module_of(node)) == module


def test_nodes_are_named_so_that_their_module_can_be_read():
    modules = ['', 'backbone', 'backbone.stem', 'backbone.stem.0.conv']
    scopes = {'deep': modules, 'twice': modules, 'of_none': ['']}
    nodes = [helper.make_node('Relu', ['x'], [name], name=name) for name in scopes]
    for node, names in zip(nodes, scopes.values()):
        node.metadata_props.add(key=SCOPES, value=str([*names, 'aten.relu']))
    nodes.append(helper.make_node('Conv', ['x', 'neck.convs.1.weight'], ['y'], name='merged'))
    nodes.append(helper.make_node('Relu', ['x'], ['z'], name='kept'))
    graph = helper.make_graph(nodes, 'graph', [], [])
    model = helper.make_model(graph)
    name_nodes(model)
    names = [node.name for node in model.graph.node]
    assert names == [
        '/backbone/stem/0/conv/Relu',
        '/backbone/stem/0/conv/Relu_1',
        '/Relu',
        '/neck/convs/1/Conv',
        'kept',
    ]
    assert ['.'.join(module_of(name)) for name in names] == [
        'backbone.stem.0.conv',
        'backbone.stem.0.conv',
        '',
        'neck.convs.1',
        '',
    ]


@pytest.mark.parametrize(
    'name, metadata, nodes',
    [
        ('/a/Conv', '', ['/a/Conv']),
        ('/a/0/Conv + PWN(/a/1/Relu_2)', '', ['/a/0/Conv', '/a/1/Relu_2']),
        (
            '{ForeignNode[/a.0/MatMul.../b/Add]}',
            '',
            ['/a.0/MatMul', '/b/Add'],
        ),
        ('fusion_12', '[ONNX Layer: /a/Conv]\x1e[ONNX Layer: /b/Add]', ['/a/Conv', '/b/Add']),
        ('/a/Conv', '[ONNX Layer: constant_3]', ['/a/Conv']),
        ('Reformatting CopyNode for Input Tensor 0 to conv', '', []),
    ],
)
def test_the_nodes_of_a_layer(name, metadata, nodes):
    assert nodes_of_layer(name, metadata) == nodes
