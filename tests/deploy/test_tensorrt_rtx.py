"""Every head through a real parser and a real builder: those of TensorRT for RTX.

It is of TensorRT 11's family, has the same Python API, and builds engines on machines without a
GPU. It lacks NonMaxSuppression, NonZero and, without a GPU, RoiAlign: the graphs do without them.
"""

import signal
import sys

import pytest

from mmtrtvit.deploy.engine_options import ShapeRange
from mmtrtvit.deploy.to_tensorrt import build_engine
from mmtrtvit.errors import UserError

tensorrt_rtx = pytest.importorskip('tensorrt_rtx')
pytestmark = pytest.mark.filterwarnings('ignore:.*Timing cache operations are no-ops')

RANGE = ShapeRange((1, 3, 64, 64), (1, 3, 128, 160), (2, 3, 256, 320))
HEADS = ('retinanet_trtvit_b', 'mask_rcnn_efficientvit_m2', 'upernet_trtvit_a',
         'fpn_efficientvit_m4')


@pytest.fixture(autouse=True)
def rtx(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorrt', tensorrt_rtx)


def exportable(model):
    if hasattr(model, 'decode_head'):
        from mmtrtvit.deploy.segmentors import Segmentor

        return Segmentor(model).eval()
    from mmtrtvit.deploy.detectors import OneStageDetector, TwoStageDetector

    if hasattr(model, 'roi_head'):
        return TwoStageDetector(model, nms='matrix', pooling='grid').eval()
    return OneStageDetector(model, nms='matrix').eval()


@pytest.mark.parametrize('head', HEADS)
def test_every_head_becomes_an_engine(build, pictures, tmp_path, head):
    from mmtrtvit.deploy.to_onnx import export

    module = exportable(build(head))
    x, sizes = pictures(2, (90, 120), (96, 128))
    inputs = dict(input=x, sizes=sizes) if 'dets' in module.output_names else dict(input=x)
    axes = dict(input={0: 'batch', 2: 'height', 3: 'width'}, sizes={0: 'batch'}) | {
        name: {0: 'batch'} | ({2: 'rows', 3: 'columns'} if name == 'output' else {})
        for name in module.output_names}
    path = export(module, inputs, tmp_path / 'end2end.onnx', module.output_names, axes)
    report = build_engine(path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)])
    weights = sum(x.numel() * 4 for x in module.parameters()) / 1e6
    assert report.strongly_typed and report.path.stat().st_size / 1e6 > weights


@pytest.mark.parametrize('kind', ['fp32', 'fp16', 'int8'])
def test_every_precision_becomes_an_engine(graph, tmp_path, kind):
    path = graph(tmp_path / 'end2end.onnx', kind)
    phases = []
    report = build_engine(
        path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)] * 2, progress=phases.append)
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


def test_a_real_build_can_be_interrupted(graph, tmp_path):

    def interrupt(phase):
        if phase == 'Optimizing graph':
            signal.raise_signal(signal.SIGINT)

    path = graph(tmp_path / 'end2end.onnx')
    with pytest.raises(KeyboardInterrupt):
        build_engine(path, tmp_path / 'end2end.engine', profiles=[dict(input=RANGE)],
                     progress=interrupt)
    assert not (tmp_path / 'end2end.engine').exists()
