"""Times of layers, merged back to modules."""

from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from mmtrtvit.deploy.backends.onnxruntime.layers import onnx_layers
from mmtrtvit.deploy.backends.tensorrt.layers import engine_layers
from mmtrtvit.deploy.graphs.layer_times import (
    INSERTED,
    POST_PROCESSING,
    LayerTime,
    by_module,
    by_stage,
    common_module,
    stage_of,
)
from mmtrtvit.deploy.measure.latency import measure_latency, random_inputs
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.base import Tensor


@pytest.mark.parametrize(
    'nodes, module',
    [
        (['/backbone/stem/0/Conv', '/backbone/stem/0/act/Relu'], 'backbone.stem.0'),
        (
            ['/backbone/stem/0/Conv', '/backbone/stem/1/Conv', '/backbone/stem/1/Relu'],
            'backbone.stem',
        ),
        (['/neck/Conv', '/head/Conv'], POST_PROCESSING),
        (['/neck/Conv'], 'neck'),
        (['/Add'], POST_PROCESSING),
        ([], INSERTED),
    ],
)
def test_the_module_of_a_layer(nodes, module):
    assert common_module(nodes) == module


@pytest.mark.parametrize(
    'module, stage',
    [
        ('backbone.stem.0.conv', 'backbone.stem'),
        ('backbone.stages.2.1.mlp', 'backbone.stages.2'),
        ('backbone', 'backbone'),
        ('neck.convs.0', 'neck'),
        (POST_PROCESSING, POST_PROCESSING),
    ],
)
def test_the_stage_of_a_module(module, stage):
    assert stage_of(module) == stage


def test_layers_of_an_engine():
    """Names as TensorRT gives them, with the inspector's metadata and without."""
    fused = '/backbone/stem/0/conv/Conv + PWN(/backbone/stem/0/act/Relu)'
    foreign = '{ForeignNode[/neck/a/MatMul.../neck/b/Add]}'
    described = 'conv_act_fusion_12'
    reformat = 'Reformatting CopyNode for Input Tensor 0 to conv'
    rounds = [
        {fused: 1.0, foreign: 4.0, described: 0.5, reformat: 0.5},
        {fused: 3.0, foreign: 6.0, described: 0.5, reformat: 0.5},
        {fused: 2.0, foreign: 5.0, described: 0.5, reformat: 0.5},
    ]
    layers = engine_layers(
        rounds,
        [
            dict(Name=fused),
            dict(Name=reformat, Metadata=''),
            dict(
                Name=described, Metadata='[ONNX Layer: /head/a/Conv]\x1e[ONNX Layer: /head/b/Relu]'
            ),
        ],
    )
    assert layers == [
        LayerTime(fused, 'backbone.stem.0', 2.0),
        LayerTime(foreign, 'neck', 5.0),
        LayerTime(described, 'head', 0.5),
        LayerTime(reformat, INSERTED, 0.5),
    ]
    stages = by_stage(layers)
    assert [(each.name, each.milliseconds, each.share, each.layers) for each in stages] == [
        ('backbone.stem', 2.0, 0.25, 1),
        ('neck', 5.0, 0.625, 1),
        ('head', 0.5, 0.0625, 1),
        (INSERTED, 0.5, 0.0625, 1),
    ]
    assert [each.name for each in by_module(layers)][:2] == ['neck', 'backbone.stem.0']


def test_layers_of_an_onnx_file(tmp_path):
    """The large product takes most of the time, and every node is found again."""
    nodes = [
        helper.make_node('MatMul', ['x', 'x'], ['a'], '/backbone/stages.0/stages.0.1/MatMul'),
        helper.make_node('Softmax', ['a'], ['b'], '/neck/Softmax'),
        helper.make_node('ReduceMax', ['b'], ['y'], '/ReduceMax'),
    ]
    graph = helper.make_graph(
        nodes,
        'graph',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, ['n', 'n'])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, None)],
    )
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8),
        tmp_path / 'a.onnx',
    )
    x = np.random.default_rng(0).standard_normal((500, 500), np.float32)
    layers = onnx_layers(tmp_path / 'a.onnx', dict(x=x), rounds=5, warmup=1, threads=1)
    assert [(layer.name, layer.module) for layer in layers] == [
        ('/backbone/stages.0/stages.0.1/MatMul', 'backbone.stages.0.1'),
        ('/neck/Softmax', 'neck'),
        ('/ReduceMax', POST_PROCESSING),
    ]
    shares = by_stage(layers)
    assert shares[0].name == 'backbone.stages.0'
    assert sum(each.share for each in shares) == pytest.approx(1)
    assert list(tmp_path.iterdir()) == [tmp_path / 'a.onnx']


def test_latency_is_of_the_rounds_that_count(monkeypatch):
    clock = [0.0]
    durations = iter([9.0] * 4 + [value for each in range(1, 21) for value in (each, 2.0)])
    calls = []

    def run(name):
        calls.append(name)
        clock[0] += next(durations)

    monkeypatch.setattr('time.perf_counter', lambda: clock[0])
    found = measure_latency(
        {'a': lambda: run('a'), 'b': lambda: run('b')}, batch=4, rounds=20, warmup=2
    )
    assert calls == ['a', 'a', 'b', 'b'] + ['a', 'b'] * 20
    assert found['a'].median == 10500 and found['a'].p95 == pytest.approx(19050)
    assert found['a'].throughput == pytest.approx(4 * 20 / 210) and found['a'].rounds == 20
    assert found['b'].median == found['b'].p95 == 2000 and found['b'].throughput == 2


def graph_of(**shapes):
    kinds = (Tensor(*each, np.dtype('float32')) for each in shapes.items())
    return SimpleNamespace(inputs=tuple(kinds))


def test_noise_of_the_right_kind():
    inputs = random_inputs(graph_of(input=(None, 3, None, None), sizes=(None, 2)), 2, size=(64, 96))
    assert inputs['input'].shape == (2, 3, 64, 96) and inputs['input'].dtype == np.float32
    assert inputs['sizes'].tolist() == [[64, 96]] * 2 and inputs['sizes'].dtype == np.float32
    inputs = random_inputs(graph_of(input=(1, None, None, 3)), 1, size=(64, 96))
    assert inputs['input'].shape == (1, 64, 96, 3) and inputs['input'].dtype == np.uint8
    assert list(inputs) == ['input']
    with pytest.raises(UserError, match='takes images of 1x3x64x64, not 2x3x64x96'):
        random_inputs(graph_of(input=(1, 3, 64, 64)), 2, size=(64, 96))
