"""INT8 for ONNX Runtime: chains stay in eight bits, what decides stays float, any size runs."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmtrtvit.deploy.backends.onnxruntime.processors import PROCESSORS, this_processor
from mmtrtvit.deploy.backends.onnxruntime.quantize import ChainQuantizer, chains
from mmtrtvit.deploy.graphs.graph import load_onnx
from mmtrtvit.deploy.settings import Calibration
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.onnx import OnnxSession

DEMOS = 'retinanet_trtvit_b', 'fpn_efficientvit_m4'


def batch(images, size=(64, 96), count=1):
    x, sizes = images(count, size, size)
    return dict(input=x.numpy(), sizes=sizes.numpy())


def run(path, inputs):
    session = OnnxSession(path)
    return session.run({each.name: inputs[each.name] for each in session.inputs})


def computed(path, folder):
    """Operators of a file as ONNX Runtime computes them, and how many of each."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / 'optimized.onnx')
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    return Counter(node.op_type for node in onnx.load(folder / 'optimized.onnx').graph.node)


@pytest.fixture(scope='module', params=DEMOS)
def pair(request, exported, images, tmp_path_factory):
    source = exported(request.param).path
    target = tmp_path_factory.mktemp('chains') / 'end2end.onnx'
    quantizer = ChainQuantizer(
        source, batches=[batch(images)], calibration=Calibration(), processor='x86'
    )
    return source, quantizer, quantizer.write(target)


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    """A graph that has all that a chain goes through: colours to features to 'scores'."""
    rng = np.random.default_rng(0)

    def weights(name, *shape):
        return numpy_helper.from_array(rng.standard_normal(shape, np.float32) * 0.1, name)

    node = helper.make_node
    same = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [
            node('Conv', ['input', 'w0'], ['a0'], '/backbone/stem/Conv', **same),
            node('Conv', ['a0', 'w1'], ['a1'], '/backbone/0/Conv', **same),
            node('Relu', ['a1'], ['b1'], '/backbone/0/Relu'),
            node('Conv', ['b1', 'w2'], ['a2'], '/backbone/1/Conv', **same),
            node('Add', ['a2', 'b1'], ['c'], '/backbone/1/Add'),
            node('MaxPool', ['c'], ['d'], '/backbone/2/MaxPool', kernel_shape=[2, 2]),
            node('Conv', ['d', 'w3'], ['a3'], '/neck/0/Conv', **same),
            node('ReduceMean', ['a3'], ['e'], '/neck/0/ReduceMean', axes=[2, 3]),
            node('Mul', ['a3', 'e'], ['f'], '/neck/0/Mul'),
            node('Concat', ['d', 'f'], ['g'], '/neck/0/Concat', axis=1),
            node('Conv', ['g', 'w4'], ['h'], '/neck/1/Conv', **same),
            node('Conv', ['h', 'w5'], ['scores'], '/head/conv_cls/Conv', **same),
            node('Sigmoid', ['scores'], ['output'], '/Sigmoid'),
        ],
        'toy',
        [helper.make_tensor_value_info('input', TensorProto.FLOAT, ('batch', 3, 'h', 'w'))],
        [helper.make_tensor_value_info('output', TensorProto.FLOAT, ('batch', 2, 'y', 'x'))],
        [
            weights('w0', 8, 3, 3, 3),
            weights('w1', 8, 8, 3, 3),
            weights('w2', 8, 8, 3, 3),
            weights('w3', 8, 8, 3, 3),
            weights('w4', 8, 16, 3, 3),
            weights('w5', 2, 8, 3, 3),
        ],
    )
    path = tmp_path_factory.mktemp('toy') / 'toy.onnx'
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    helper.set_model_props(model, dict(task='toy'))
    onnx.save(model, path)
    return path


def quantizer(path, method='minmax', processor='x86', count=2, **calibration):
    rng = np.random.default_rng(1)
    inputs = (dict(input=rng.standard_normal((1, 3, 16, 24), np.float32)) for _ in range(count))
    return ChainQuantizer(
        path,
        batches=inputs,
        calibration=Calibration(method=method, **calibration),
        processor=processor,
    )


def test_every_layer_computes_in_eight_bits(pair, tmp_path):
    source, quantizer, result = pair
    operators = {node.name: node.op_type for node in load_onnx(source).graph.node}
    convolutions = sum(operators[name] == 'Conv' for name in result.layers)
    products = sum(operators[name] == 'MatMul' for name in result.layers)
    found = computed(result.path, tmp_path)
    assert found['QLinearConv'] == convolutions > 20
    assert found['MatMulIntegerToFloat'] == products
    assert not found['ConvInteger'] and not found['QLinearSoftmax']


def test_colours_and_what_decides_stay_float(pair):
    *_, result = pair
    modules = {name.split('/')[2].split('_')[0] for name in result.left_out}
    assert modules in ({'stem', 'retina'}, {'stem', 'conv'})


def test_post_processing_does_not_change(pair):
    source, _, result = pair
    before, after = (
        {node.name: node for node in load_onnx(path).graph.node} for path in (source, result.path)
    )
    own = {name for name in before if name.count('/') == 1}
    changed = {name for name in own if before[name] != after[name]}
    rounded = {name for name in changed if 'DequantizeLinear' in str(after[name].input)}
    assert changed == rounded and len(changed) <= len(own) / 10


def test_any_size_and_number_of_images(pair, images):
    source, _, result = pair
    inputs = batch(images, (96, 64), 3)
    for name, expected in run(source, inputs).items():
        found = run(result.path, inputs)[name]
        assert found.shape == expected.shape and found.dtype == expected.dtype
        if name == 'output':
            assert np.linalg.norm(found - expected) < 0.15 * np.linalg.norm(expected)
        if name == 'dets':
            scores = [np.sort(each[..., 4]) for each in (found, expected)]
            np.testing.assert_allclose(*scores, rtol=0, atol=0.05)


def test_others_read_the_file(pair):
    onnx.checker.check_model(onnx.load(pair[2].path), full_check=True)


def test_a_chain_goes_through_what_lies_between_layers(toy, tmp_path):
    made = quantizer(toy)
    taken = [node.name for node in chains(made.model, made.layers)]
    assert [name for name in taken if 'Conv' not in name] == [
        '/backbone/0/Relu',
        '/backbone/1/Add',
        '/backbone/2/MaxPool',
        '/neck/0/Mul',
        '/neck/0/Concat',
    ]
    result = made.write(tmp_path / 'a.onnx')
    assert result.left_out == ('/backbone/stem/Conv', '/head/conv_cls/Conv')
    found = computed(result.path, tmp_path)
    assert [found[name] for name in ('QLinearConv', 'QLinearAdd', 'QLinearConcat', 'Relu')] == [
        4,
        1,
        1,
        0,
    ]
    metadata = {each.key: each.value for each in onnx.load(result.path).metadata_props}
    assert metadata['precision'] == 'int8' and metadata['task'] == 'toy'


def test_a_chain_ends_with_a_layer(toy):
    made = quantizer(toy)
    without_last = [node for node in made.layers if node.name != '/neck/1/Conv']
    names = {node.name for node in chains(made.model, without_last)}
    assert '/neck/0/Concat' not in names and '/neck/0/Mul' not in names
    assert '/backbone/2/MaxPool' in names


def test_a_layer_in_front_of_post_processing_that_takes_time_is_quantized(toy, monkeypatch):
    monkeypatch.setattr('mmtrtvit.deploy.backends.onnxruntime.quantize.LIGHT', 100)
    assert quantizer(toy).layers[-1].name == '/head/conv_cls/Conv'


@pytest.mark.parametrize('method', ['minmax', 'entropy', 'percentile'])
def test_every_method(toy, method, tmp_path):
    path = quantizer(toy, method, count=10).write(tmp_path / 'a.onnx').path
    x = dict(input=np.random.default_rng(2).standard_normal((1, 3, 16, 24), np.float32))
    np.testing.assert_allclose(run(path, x)['output'], run(toy, x)['output'], atol=0.1)


def test_nothing_to_compute_faster(toy, tmp_path):
    model = onnx.load(toy)
    del model.graph.node[1:]
    model.graph.node[0].output[0] = 'output'
    onnx.save(model, tmp_path / 'stem.onnx')
    with pytest.raises(UserError, match='no layer that ONNX Runtime would compute faster in int8'):
        quantizer(tmp_path / 'stem.onnx')
    with pytest.raises(UserError, match='leaves none of 4 layers to quantize'):
        made = quantizer(toy)
        made.write(tmp_path / 'a.onnx', [node.name for node in made.layers])


def test_layers_are_left_out(toy, tmp_path):
    result = quantizer(toy, exclude=['neck']).write(tmp_path / 'a.onnx', ['/backbone/1/Conv'])
    assert result.layers == ('/backbone/0/Conv',) and len(result.left_out) == 5
    assert computed(result.path, tmp_path)['QLinearConv'] == 1


def integers(path):
    """Types of rounded activations, and the largest weight."""
    graph = onnx.load(path).graph
    stored = {each.name: each for each in graph.initializer}
    types = {
        stored[node.input[2]].data_type for node in graph.node if node.op_type == 'QuantizeLinear'
    }
    weights = [
        stored[node.input[0]]
        for node in graph.node
        if node.op_type == 'DequantizeLinear' and node.input[0] in stored
    ]
    assert {each.data_type for each in weights if len(each.dims) == 4} == {TensorProto.INT8}
    return types, max(abs(numpy_helper.to_array(each).astype(int)).max() for each in weights)


@pytest.mark.parametrize(
    'processor, kind, largest',
    [
        ('x86', TensorProto.UINT8, 127),
        ('x86_avx2', TensorProto.UINT8, 64),
        ('arm', TensorProto.INT8, 127),
    ],
)
def test_each_processor_has_its_integers(toy, tmp_path, processor, kind, largest):
    path = quantizer(toy, processor=processor).write(tmp_path / 'a.onnx').path
    types, found = integers(path)
    assert types == {kind} and largest - 1 <= found <= largest
    x = dict(input=np.random.default_rng(2).standard_normal((1, 3, 16, 24), np.float32))
    np.testing.assert_allclose(run(path, x)['output'], run(toy, x)['output'], atol=0.1)


@pytest.mark.parametrize(
    'machine, name', [('x86_64', 'x86'), ('AMD64', 'x86'), ('aarch64', 'arm'), ('arm64', 'arm')]
)
def test_the_processor_of_this_machine(monkeypatch, machine, name):
    monkeypatch.setattr('platform.machine', lambda: machine)
    assert this_processor() == name and name in PROCESSORS
