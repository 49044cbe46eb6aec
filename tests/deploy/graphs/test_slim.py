"""Slimmed graphs: the same numbers with fewer nodes, every node named, nothing of this machine."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import mmtrtvit
from mmtrtvit.deploy.backends.tensorrt.rules import check_graph
from mmtrtvit.errors import UserError

DEMOS = (
    'retinanet_trtvit_b',
    'mask_rcnn_efficientvit_m2',
    'upernet_trtvit_a',
    'fpn_efficientvit_m4',
)
SLOW = pytest.mark.slow
# Those that are exported whole, too; dynamo takes a minute for each file of the other.
WHOLE = [(demo, 'torchscript') for demo in DEMOS]
WHOLE += [pytest.param((DEMOS[2], 'dynamo'), marks=SLOW)]
CASES = [*WHOLE, pytest.param((DEMOS[1], 'dynamo'), marks=SLOW)]
SIZES = [(1, (100, 130), (128, 160)), (3, (64, 96), (64, 96)), (1, (50, 61), (67, 101))]
PARTS = {'backbone', 'neck', 'head', 'rpn_head', 'bbox_head', 'mask_head', 'decode_head'}


@pytest.fixture(params=CASES, ids='-'.join)
def case(request):
    return request.param


@pytest.fixture
def demo(case):
    return case[0]


@pytest.fixture
def exporter(case):
    return case[1]


def releases_of(exporter):
    return ['8.6', '10', '11'] if exporter == 'torchscript' else ['10', '11']


def run(path, x, sizes):
    session = onnxruntime.InferenceSession(str(path))
    feeds = dict(input=x.numpy(), sizes=sizes.numpy())
    return session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})


@pytest.mark.parametrize('case', WHOLE, ids='-'.join, indirect=True)
def test_a_slim_graph_gives_the_same_with_fewer_nodes(demo, exporter, exported, images):
    whole, slim = exported(demo, exporter, slimmed=False), exported(demo, exporter)
    assert whole.nodes == slim.exported_nodes > slim.nodes
    assert slim.megabytes == slim.path.stat().st_size / 1e6
    assert slim.nodes == len(onnx.load(slim.path).graph.node)
    for batch, size, padded in SIZES:
        x, sizes = images(batch, size, padded)
        for ours, theirs in zip(run(slim.path, x, sizes), run(whole.path, x, sizes), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3)


def test_every_release_takes_the_graph(demo, exporter, exported):
    for release in releases_of(exporter):
        assert check_graph(exported(demo, exporter).path, release) == []


@pytest.mark.parametrize('case', WHOLE, ids='-'.join, indirect=True)
def test_every_release_takes_the_whole_graph(demo, exporter, exported):
    path = exported(demo, exporter, slimmed=False).path
    for release in releases_of(exporter):
        assert check_graph(path, release) == []


@pytest.mark.slow
def test_dynamo_writes_what_8_6_does_not_take(exported):
    problems = check_graph(exported('upernet_trtvit_a', 'dynamo').path, '8.6')
    assert {problem.op for problem in problems} == {'graph', 'Shape'}


def test_layers_are_named_after_their_modules(demo, exporter, exported):
    nodes = onnx.load(exported(demo, exporter).path).graph.node
    names = [node.name for node in nodes]
    assert all(names) and len(set(names)) == len(names)
    layers = [node.name for node in nodes if node.op_type in ('Conv', 'Gemm')]
    assert len(layers) > 30 and {name.split('/')[1] for name in layers} <= PARTS
    assert any('stages' in name for name in layers)


def test_axes_are_a_name_or_a_number(demo, exporter, exported):
    graph = onnx.load(exported(demo, exporter).path).graph
    shapes = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    assert shapes['input'] == ['batch', 3, 'height', 'width']
    if 'output' in shapes:
        assert shapes['output'] == ['batch', 4, 'rows', 'columns']
    else:
        count = 10 if 'masks' in shapes else 100
        assert shapes['sizes'] == ['batch', 2] and shapes['num_dets'] == ['batch', 1]
        assert shapes['dets'] == ['batch', count, 5] and shapes['labels'] == ['batch', count]
        assert shapes.get('masks', ['batch', count, 28, 28]) == ['batch', count, 28, 28]


def test_the_file_says_nothing_of_this_machine(demo, exporter, exported):
    content = exported(demo, exporter).path.read_bytes()
    for text in (str(Path(mmtrtvit.__file__).parents[1]), 'site-packages', 'stack_trace'):
        assert text.encode() not in content


def test_metadata_goes_with_the_file(exportable, export_any_size, tmp_path):
    path = tmp_path / 'end2end.onnx'
    metadata = dict(task='Segmentation', classes=['Häuser'])
    export_any_size(exportable('upernet_trtvit_a'), path, metadata=metadata)
    meta = onnxruntime.InferenceSession(str(path)).get_modelmeta()
    assert meta.producer_name == 'mmtrtvit'
    assert meta.custom_metadata_map == dict(task='Segmentation', classes='["Häuser"]')
    assert onnx.load(path).producer_version == mmtrtvit.__version__


def test_onnxslim_is_named_where_it_is_missing(monkeypatch):
    from mmtrtvit.deploy.graphs.slim import slim

    monkeypatch.setitem(sys.modules, 'onnxslim', None)
    with pytest.raises(UserError, match=r"pip install 'mmtrtvit\[deploy\]'.*slim=False"):
        slim(onnx.ModelProto())
