"""INT8: what is quantized, how near it stays, what is left out, and that memory stays flat."""

import weakref

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from mmtrtvit.deploy.backends.tensorrt.rules import check_graph
from mmtrtvit.deploy.graphs.formats import FP8
from mmtrtvit.deploy.graphs.quantize import quantizable_layers, quantize, sensitivity
from mmtrtvit.deploy.settings import Calibration
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.base import TimedOut
from mmtrtvit.runtime.sessions.onnx import OnnxSession

DEMOS = 'retinanet_trtvit_b', 'mask_rcnn_efficientvit_m2', 'upernet_trtvit_a'


def batches(images, count=2, size=(64, 96)):
    for _ in range(count):
        x, sizes = images(1, size, size)
        yield dict(input=x.numpy(), sizes=sizes.numpy())


def run(path, batch):
    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {each.name: batch[each.name] for each in session.get_inputs()})


@pytest.fixture(scope='module', params=DEMOS)
def pair(request, exported, images, tmp_path_factory):
    source = exported(request.param).path
    target = tmp_path_factory.mktemp('quantized') / 'end2end.onnx'
    return (
        source,
        quantize(source, target, batches=batches(images), calibration=Calibration()),
        request.param,
    )


@pytest.fixture(scope='module')
def source(exported):
    return exported('upernet_trtvit_a').path


def test_every_layer_with_weights_is_quantized_and_nothing_else_changes(pair):
    source, result, _ = pair
    before, after = onnx.load(source).graph, onnx.load(result.path).graph
    layers = {node.name for node in quantizable_layers(onnx.load(source))}
    assert layers == set(result.layers) and not result.left_out
    assert len(layers) > 30 and all(
        'backbone' in name or 'head' in name or 'neck' in name for name in layers
    )
    kept = {node.name: node for node in after.node if 'quantizeLinear' not in node.name}
    old = {node.name: node for node in before.node}
    extra = {node.op_type for name, node in kept.items() if name not in old}
    assert extra <= {'QuantizeLinear', 'DequantizeLinear'} and old.keys() <= kept.keys()
    made_by_dq = {
        name for node in after.node if node.op_type == 'DequantizeLinear' for name in node.output
    }
    for name, node in old.items():
        if name in layers:
            assert set(kept[name].input[:2]) <= made_by_dq
            for ours, theirs in zip(kept[name].input[2:], node.input[2:], strict=True):  # biases
                np.testing.assert_array_equal(stored(after)[ours], stored(before)[theirs])
        else:
            assert kept[name] == node
    assert [value.name for value in after.output] == [value.name for value in before.output]


def stored(graph):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def test_the_file_is_small_and_every_younger_release_takes_it(pair):
    source, result, _ = pair
    assert result.path.stat().st_size < 0.45 * source.stat().st_size
    assert result.megabytes == result.path.stat().st_size / 1e6 and result.batches == 2
    assert check_graph(result.path, '10') == check_graph(result.path, '11') == []
    assert {problem.op for problem in check_graph(result.path, '8.6')} == {'DequantizeLinear'}


# tests/deploy/test_workflow.py gives the tools a smaller Mask R-CNN
@pytest.mark.parametrize('pair', [name for name in DEMOS if 'mask_rcnn' not in name], indirect=True)
def test_every_tool_takes_the_file(pair, tool):
    tool(pair[1].path)


def test_weights_may_stay_float_for_older_releases(source, images, tmp_path):
    result = quantize(
        source,
        tmp_path / 'a.onnx',
        batches=batches(images),
        calibration=Calibration(),
        float_weights=True,
    )
    assert check_graph(result.path, '8.6') == []
    other = quantize(
        source, tmp_path / 'b.onnx', batches=batches(images), calibration=Calibration()
    )
    (batch,) = batches(images, 1)
    np.testing.assert_allclose(
        run(result.path, batch)[0], run(other.path, batch)[0], rtol=0, atol=1e-3
    )


@pytest.fixture(scope='module')
def fp8(source, images, tmp_path_factory):
    target = tmp_path_factory.mktemp('fp8') / 'end2end.onnx'
    calibration = Calibration(exclude=['conv_seg'])
    return quantize(source, target, batches=batches(images), calibration=calibration, kind=FP8)


def test_a_graph_in_fp8(fp8, source, images):
    graph = onnx.load(fp8.path)
    onnx.checker.check_model(graph, full_check=True)
    assert check_graph(graph, '10') == check_graph(graph, '11') == []
    assert any('opset is 19' in problem.message for problem in check_graph(graph, '8.6'))
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    makers = {node.output[0]: node for node in graph.graph.node}
    before = stored(onnx.load(source).graph)
    for node in graph.graph.node:
        if node.name not in fp8.layers:
            assert not any('DequantizeLinear' in name for name in node.input)
            continue
        for name in node.input[:2]:
            assert makers[name].op_type == 'DequantizeLinear'
        rounded, scale, _ = makers[node.input[1]].input
        assert tensors[rounded].data_type == TensorProto.FLOAT8E4M3FN
        weight = before[rounded.removesuffix('_quantized')]
        assert tuple(tensors[scale].dims) == () and onnx.numpy_helper.to_array(
            tensors[scale]
        ) == pytest.approx(np.abs(weight).max() / 448)
    assert fp8.layers and fp8.left_out and any('conv_seg' in name for name in fp8.left_out)
    assert fp8.path.stat().st_size < 0.5 * source.stat().st_size


def test_fp8_stays_near_single_precision(fp8, source, images):
    """Three bits of a number are after the point: 31 dB. A layer rounds two, and there are 45."""
    (batch,) = batches(images, 1)
    (found,) = OnnxSession(fp8.path).run(batch).values()
    error = relative_error(found, run(source, batch)[0])
    assert 0.01 < error < 0.35
    layers = sensitivity(source, [batch], Calibration(), FP8)
    assert 22 < layers[0].decibels < layers[-1].decibels < 45


def test_no_layer_for_fp8(source, images, tmp_path, graph):
    narrow = graph(tmp_path / 'narrow.onnx')
    with pytest.raises(UserError, match='no layer that TensorRT would compute in fp8: take int8'):
        quantize(
            narrow,
            tmp_path / 'out.onnx',
            batches=batches(images),
            calibration=Calibration(),
            kind=FP8,
        )


def test_scores_stay_near(pair, images):
    source, result, name = pair
    (batch,) = batches(images, 1)
    expected, found = run(source, batch), run(result.path, batch)
    assert [x.dtype for x in found] == [x.dtype for x in expected]
    if name == 'upernet_trtvit_a':
        assert relative_error(found[0], expected[0]) < 0.1
    else:
        scores = [np.sort(outputs[1][..., 4]) for outputs in (found, expected)]
        np.testing.assert_allclose(*scores, rtol=0, atol=0.05)


def relative_error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize('method', ['minmax', 'entropy', 'percentile'])
def test_every_method_works_on_many_batches_with_flat_memory(source, images, tmp_path, method):
    alive, most = [], 0

    def watched():
        nonlocal most
        for batch in batches(images, 14, size=(64, 64)):
            batch['input'] = batch['input'] + np.float32(0)
            alive.append(weakref.ref(batch['input']))
            yield batch
            del batch
            most = max(most, sum(each() is not None for each in alive))

    result = quantize(
        source, tmp_path / 'a.onnx', batches=watched(), calibration=Calibration(method=method)
    )
    assert result.batches == 14 and most <= 9  # the first 8 show which layers suffer most
    (batch,) = batches(images, 1)
    assert relative_error(run(result.path, batch)[0], run(source, batch)[0]) < 0.2


def test_layers_are_left_out_by_name(source, images, tmp_path):
    result = quantize(
        source,
        tmp_path / 'a.onnx',
        batches=batches(images),
        calibration=Calibration(exclude=('conv_seg', 'stem')),
    )
    assert {name.split('/')[2] for name in result.left_out} == {'conv_seg', 'stem'}
    graph = onnx.load(result.path).graph
    fed = {
        name for node in graph.node if node.op_type == 'DequantizeLinear' for name in node.output
    }
    for node in graph.node:
        if node.name in result.left_out:
            assert not fed & set(node.input)


def test_the_noisiest_layers_are_left_out(source, images, tmp_path):
    rows = sensitivity(source, batches(images), Calibration())
    assert [row.decibels for row in rows] == sorted(row.decibels for row in rows)
    result = quantize(
        source,
        tmp_path / 'a.onnx',
        batches=batches(images),
        calibration=Calibration(),
        exclude_worst=3,
    )
    assert set(result.left_out) == {row.layer for row in rows[:3]}
    assert len(result.layers) == len(rows) - 3


def two_convolutions(path, outlier):
    """A first layer whose second output channel is ``outlier`` times the others, and a second."""
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((4, 4, 1, 1)).astype(np.float32) for _ in range(2))
    first[1] *= outlier
    second[:, 1] /= outlier
    graph = helper.make_graph(
        [
            helper.make_node('Conv', ['input', 'w1'], ['a'], 'first'),
            helper.make_node('Conv', ['a', 'w2'], ['output'], 'second'),
        ],
        'test',
        [helper.make_tensor_value_info('input', TensorProto.FLOAT, (1, 4, 8, 8))],
        [helper.make_tensor_value_info('output', TensorProto.FLOAT, (1, 4, 8, 8))],
        [onnx.numpy_helper.from_array(first, 'w1'), onnx.numpy_helper.from_array(second, 'w2')],
    )
    opsets = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return first, second, rng.standard_normal((1, 4, 8, 8)).astype(np.float32)


@pytest.mark.parametrize('outlier', [1, 100])
def test_decibels_are_those_of_rounding_by_hand(tmp_path, outlier):
    path = tmp_path / 'model.onnx'
    first, second, x = two_convolutions(path, outlier)
    rows = {row.layer: row.decibels for row in sensitivity(path, [dict(input=x)], Calibration())}

    def rounded(values, axes=None):
        scale = np.abs(values).max(axis=axes, keepdims=axes is not None) / 127
        return np.clip(np.round(values / scale), -128, 127) * scale

    def conv(weights, values):
        return np.einsum('oi,nihw->nohw', weights[..., 0, 0], values)

    values = x
    for name, weights in (('first', first), ('second', second)):
        exact = conv(weights, values)
        noise = conv(rounded(weights, (1, 2, 3)), rounded(values)) - exact
        expected = 10 * np.log10((exact**2).sum() / (noise**2).sum())
        assert rows[name] == pytest.approx(expected, abs=0.2)
        values = exact
    assert (rows['second'] < 15) == (outlier == 100)


def test_a_name_that_no_layer_has_is_refused(source, images, tmp_path):
    calibration = Calibration(exclude=('decode_heat',))
    with pytest.raises(UserError, match="'decode_heat' in its name. Did you mean decode_head"):
        quantize(source, tmp_path / 'a.onnx', batches=batches(images), calibration=calibration)


def test_all_layers_cannot_be_left_out(source, images, tmp_path):
    with pytest.raises(UserError, match='leaves no layer'):
        quantize(
            source,
            tmp_path / 'a.onnx',
            batches=batches(images),
            calibration=Calibration(exclude=('Conv', '/')),
        )


def test_a_failure_leaves_an_old_file_alone(source, images, tmp_path):
    old = tmp_path / 'a.onnx'
    old.write_bytes(b'old')
    wrong = [*batches(images, 1), dict(input=np.zeros((1, 5, 64, 64), np.float32))]
    with pytest.raises(UserError, match='calibration batch 2 does not go through the graph'):
        quantize(source, old, batches=wrong, calibration=Calibration())
    with pytest.raises(UserError, match='there is no image'):
        quantize(source, old, batches=[], calibration=Calibration())
    broken = dict(input=np.full((1, 3, 64, 64), np.nan, np.float32))
    with pytest.raises(UserError, match='is infinite or NaN'):
        quantize(source, old, batches=[broken], calibration=Calibration())
    assert old.read_bytes() == b'old' and list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize('method', ['minmax', 'entropy'])
def test_a_graph_without_an_end_is_stopped(endless, tmp_path, method):
    target = tmp_path / 'int8.onnx'
    batch = dict(input=np.ones((1, 3, 2, 2), np.float32))
    message = f'calibration batch 1: {target}: a run took more than 0.2 seconds and was stopped'
    with pytest.raises(TimedOut, match=message):
        quantize(
            endless(tmp_path / 'endless.onnx'),
            target,
            batches=[batch],
            calibration=Calibration(method=method),
            timeout=0.2,
        )
    assert not target.exists()


def test_what_cannot_be_quantized_is_refused(source, images, tmp_path):
    done = quantize(
        source, tmp_path / 'a.onnx', batches=batches(images), calibration=Calibration()
    ).path
    with pytest.raises(UserError, match='is quantized already'):
        quantize(done, tmp_path / 'b.onnx', batches=batches(images), calibration=Calibration())
    model = onnx.load(source)
    del model.graph.node[:]
    onnx.save(model, tmp_path / 'empty.onnx')
    with pytest.raises(UserError, match='no layer with float32 weights'):
        quantize(
            tmp_path / 'empty.onnx',
            tmp_path / 'b.onnx',
            batches=batches(images),
            calibration=Calibration(),
        )
    (tmp_path / 'text.onnx').write_text('text')
    with pytest.raises(UserError, match='cannot read .*text.onnx as ONNX'):
        sensitivity(tmp_path / 'text.onnx', batches(images), Calibration())
    with pytest.raises(UserError, match="method is 'mean', expected one of: minmax"):
        sensitivity(source, batches(images), Calibration(method='mean'))
