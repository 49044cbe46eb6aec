"""Names of nodes."""

import pytest

from mmtrtvit.deploy.graphs.nodes import module_of


@pytest.mark.parametrize(
    'node, module',
    [
        ('/backbone/stem/stem.0/conv/Conv', 'backbone.stem.0.conv'),  # of traced modules
        ('/backbone/stem/0/conv/Conv', 'backbone.stem.0.conv'),  # of torch.export
        ('/backbone/stages.0.1/Relu_2', 'backbone.stages.0.1'),
        ('/mlp/mlp.1/mlp.1.0/MatMul', 'mlp.1.0'),
        ('/heads.0/MatMul_3/MatmulTransposeFusion/', 'heads.0'),
        ('/neck/Conv', 'neck'),
        ('/Concat_7', ''),
        ('node_conv2d_3', ''),
        ('(Unnamed Layer* 5) [Shuffle]', ''),
    ],
)
def test_the_module_of_a_node(node, module):
    assert '.'.join(module_of(node)) == module
