"""Every head through a real parser and a real builder: those of TensorRT for RTX.

It is of TensorRT 11's family, has the same Python API, and builds engines on machines without a
GPU. It lacks NonMaxSuppression, NonZero and, without a GPU, RoiAlign: the graphs do without them.
"""

import functools
import signal
import sys

import numpy as np
import onnx
import pytest
import torch

from mmtrtvit.deploy.backends.tensorrt.build import build_engine
from mmtrtvit.deploy.backends.tensorrt.options import ShapeRange
from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.pipeline import Resize

tensorrt_rtx = pytest.importorskip('tensorrt_rtx')
pytestmark = pytest.mark.filterwarnings('ignore:.*Timing cache operations are no-ops')

RANGE = ShapeRange((1, 3, 64, 64), (1, 3, 128, 160), (2, 3, 256, 320))
HEADS = (
    'retinanet_trtvit_b',
    'mask_rcnn_efficientvit_m2',
    'upernet_trtvit_a',
    'fpn_efficientvit_m4',
)


@pytest.fixture(autouse=True)
def rtx(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorrt', tensorrt_rtx)


@pytest.fixture(scope='module')
def module(build):
    """Makes the module to export of a demo, without the ops that are missing."""
    from mmtrtvit.deploy.export import support
    from mmtrtvit.deploy.settings import DeploySettings

    @functools.cache
    def make(head):
        model = build(head)
        if not hasattr(model, 'decode_head'):
            model.test_cfg.get('rpn', model.test_cfg).nms_pre = 100
        return support.module_to_export(model, DeploySettings(nms='matrix', pooling='grid'))

    return make


@pytest.fixture(scope='module')
def file(module, export_any_size, tmp_path_factory):
    """Exports it in single precision."""

    @functools.cache
    def make(head):
        path = tmp_path_factory.mktemp('rtx') / 'end2end.onnx'
        return export_any_size(module(head), path).path

    return make


def check_engine(onnx_path, folder, precision):
    report = build_engine(onnx_path, folder / 'end2end.engine', profiles=[dict(input=RANGE)])
    assert report.precision == precision and report.strongly_typed
    weights = sum(np.prod(each.dims) for each in onnx.load(onnx_path).graph.initializer)
    assert report.path.stat().st_size > weights  # a byte each, or more


@pytest.mark.parametrize('head', HEADS)
def test_every_head_becomes_an_engine(file, tmp_path, head):
    check_engine(file(head), tmp_path, 'fp32')


@pytest.mark.parametrize('head', HEADS)
def test_every_head_becomes_an_engine_of_half_precision(module, export_any_size, tmp_path, head):
    from mmtrtvit.deploy.export.precision import half

    exported = export_any_size(half(module(head)), tmp_path / 'end2end.onnx')
    check_engine(exported.path, tmp_path, 'fp16')


@pytest.mark.parametrize('head', HEADS)
def test_every_head_becomes_an_engine_of_int8(file, images, tmp_path, head):
    from mmtrtvit.deploy.graphs.quantize import quantize
    from mmtrtvit.deploy.settings import Calibration

    x, sizes = images(1, (64, 96), (64, 96))
    path = tmp_path / 'int8.onnx'
    quantize(
        file(head),
        path,
        batches=[dict(input=x.numpy(), sizes=sizes.numpy())],
        calibration=Calibration(),
    )
    check_engine(path, tmp_path, 'int8')


@pytest.mark.parametrize('keep_ratio', [True, False])
def test_a_graph_that_resizes_becomes_an_engine(build, module, tmp_path, keep_ratio):
    from mmtrtvit.deploy.export.preprocessing import WithPreprocessing

    head = 'fpn_efficientvit_m4'
    resize = Resize((128, 96), keep_ratio)
    whole = WithPreprocessing(module(head), build(head).data_preprocessor, resize).eval()
    axes = dict(input={0: 'batch', 1: 'height', 2: 'width'}, output={0: 'batch', 2: 'r', 3: 'c'})
    images = torch.zeros(2, 70, 90, 3, dtype=torch.uint8)
    path = tmp_path / 'end2end.onnx'
    export(
        whole,
        dict(input=images),
        path=path,
        output_names=whole.output_names,
        dynamic_axes=axes | dict(sizes={0: 'batch'}),
    )
    sizes = ShapeRange((1, 32, 32, 3), (1, 480, 640, 3), (2, 1080, 1920, 3))
    report = build_engine(path, tmp_path / 'end2end.engine', profiles=[dict(input=sizes)])
    assert report.precision == 'fp32' and report.path.stat().st_size > 1e6


@pytest.mark.parametrize('kind', ['fp32', 'fp16', 'int8'])
def test_every_precision_becomes_an_engine(graph, tmp_path, kind):
    path = graph(tmp_path / 'end2end.onnx', kind)
    phases = []
    report = build_engine(
        path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)] * 2, progress=phases.append
    )
    assert report.precision == kind and report.path.stat().st_size > 1000
    assert phases[0] == 'Building engine' and len(phases) > 5


def test_the_parser_names_the_op_that_it_lacks(graph, tmp_path):
    from onnx import helper

    extra = [helper.make_node('NonZero', ['sums'], ['found'], '/NonZero')]
    path = graph(tmp_path / 'end2end.onnx', extra=extra)
    with pytest.raises(UserError) as error:
        build_engine(path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)])
    lines = str(error.value).splitlines()
    assert lines[1].startswith('  NonZero /NonZero: ')
    assert "onnx_config.nms='matrix'" in lines[2]


def test_what_nothing_computes_is_not_called_a_lack_of_memory(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17]>
        nms (float[B, 3, H, W] input) => (int64[N, 3] chosen)
        {
            shape = Constant <value: tensor = int64[3] {1, -1, 4}> ()
            row = Constant <value: tensor = int64[3] {1, 1, -1}> ()
            first = Constant <value: tensor = int64[1] {0}> ()
            count = Constant <value: tensor = int64[1] {8}> ()
            axis = Constant <value: tensor = int64[1] {1}> ()
            limit = Constant <value: tensor = int64[1] {10}> ()
            flat = Reshape (input, row)
            last = Constant <value: tensor = int64[1] {2}> ()
            numbers = Constant <value: tensor = int64[1] {32}> ()
            some = Slice (flat, first, numbers, last)
            boxes = Reshape (some, shape)
            scores = Slice (flat, first, count, last)
            chosen = NonMaxSuppression (boxes, scores, limit)
        }"""
    path = tmp_path / 'end2end.onnx'
    model = onnx.parser.parse_model(text)
    model.graph.node[-1].name = '/NonMaxSuppression'
    onnx.save(model, path)
    with pytest.raises(UserError) as error:
        build_engine(path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)])
    assert 'has no runners' in str(error.value) and 'Out of memory' not in str(error.value)
    assert str(error.value).endswith("To do without NonMaxSuppression: onnx_config.nms='matrix'.")


def test_a_real_build_can_be_interrupted(graph, tmp_path):

    def interrupt(phase):
        if phase == 'Optimizing graph':
            signal.raise_signal(signal.SIGINT)

    path = graph(tmp_path / 'end2end.onnx')
    with pytest.raises(KeyboardInterrupt):
        build_engine(
            path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)], progress=interrupt
        )
    assert not (tmp_path / 'end2end.engine').exists()
