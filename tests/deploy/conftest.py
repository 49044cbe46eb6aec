"""Small models of every kind that can be exported, and their exported files, each made once."""

import functools
import importlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope

from mmtrtvit.engine.hosts import import_host

DEMOS = Path(__file__).parents[2] / 'configs/demo'


@pytest.fixture(scope='session')
def build():
    """Builds a demo's model, made small, with random weights."""
    return _build


@pytest.fixture(scope='session')
def images():
    """Makes a batch, ``(B, 3, H, W)``, of images of a size that are padded, and their sizes."""
    return _images


@pytest.fixture(scope='session')
def exportable(build):
    """Makes the module to export of a demo."""

    @functools.cache
    def make(name):
        model = build(name)
        if hasattr(model, 'decode_head'):
            from mmtrtvit.deploy.export.segmentors import ExportedSegmentor as kind
        elif hasattr(model, 'roi_head'):
            from mmtrtvit.deploy.export.detectors import ExportedTwoStageDetector as kind
        else:
            from mmtrtvit.deploy.export.detectors import ExportedOneStageDetector as kind
        return kind(model).eval()

    return make


@pytest.fixture(scope='session')
def export_any_size(images):
    """Exports a module for every batch and size, and returns what was written."""

    def export_to(module, path, exporter='torchscript', **options):
        from mmtrtvit.deploy.export.to_onnx import export

        if exporter == 'dynamo':
            pytest.importorskip('torch', minversion='2.7')
        size = (96, 128) if exporter == 'torchscript' else (480, 640)
        x, sizes = images(2, size, size)
        inputs = dict(input=x) if 'output' in module.output_names else dict(input=x, sizes=sizes)
        axes = {name: {0: 'batch'} for name in [*inputs, *module.output_names]}
        axes['input'] = {0: 'batch', 2: 'height', 3: 'width'}
        if 'output' in axes:
            axes['output'] = {0: 'batch', 2: 'rows', 3: 'columns'}
        return export(
            module,
            inputs,
            path=path,
            output_names=module.output_names,
            dynamic_axes=axes,
            exporter=exporter,
            **options,
        )

    return export_to


@pytest.fixture(scope='session')
def exported(exportable, export_any_size, tmp_path_factory):
    """Exports a demo's module once."""

    @functools.cache
    def made(name, exporter, slimmed):
        path = tmp_path_factory.mktemp('exported') / 'end2end.onnx'
        return export_any_size(exportable(name), path, exporter, slimmed=slimmed)

    return lambda name, exporter='torchscript', slimmed=True: made(name, exporter, slimmed)


def _checker(path):
    onnx.checker.check_model(onnx.load(path), full_check=True)


def _shapes(path):
    model = onnx.load(path)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def _onnxslim(path):
    import onnxslim

    again = onnxslim.slim(onnx.load(path))
    onnx.checker.check_model(again, full_check=True)
    _expect_same(path, _outputs(again))


def _opset_21(path):
    newer = onnx.version_converter.convert_version(onnx.load(path), 21)
    onnx.checker.check_model(newer, full_check=True)
    _expect_same(path, _outputs(newer))


def _polygraphy(path):
    pytest.importorskip('onnx_graphsurgeon')
    polygraphy = pytest.importorskip('polygraphy.tools')
    report = Path(path).with_name('lint.json')
    assert polygraphy.main(['check', 'lint', str(path), '-o', str(report)]) == 0
    assert json.loads(report.read_text())['lint_entries'] == []


def _openvino(path):
    """Of detectors in half precision the scores are compared, as near ties may change places.

    INT8 is only loaded: on a CPU without VNNI, OpenVINO's results were far off.
    """
    pytest.importorskip('openvino')
    from mmtrtvit.runtime.sessions.openvino import OpenVINOSession  # single, and a stable TopK

    session, model = OpenVINOSession(path), onnx.load(path)
    if _quantized(path):
        return
    found = session.run(_inputs(model))
    if 'dets' in found and any(
        each.data_type == onnx.TensorProto.FLOAT16 for each in model.graph.initializer
    ):
        names = [each.name for each in model.graph.output]
        scores = _outputs(model)[names.index('dets')][..., 4], found['dets'][..., 4]
        np.testing.assert_allclose(*map(np.sort, scores), rtol=0, atol=0.01)
    else:
        _expect_same(path, [found[each.name] for each in session.outputs])


def _opencv(path):
    """OpenCV 4 knows no sizes that change; 5.0 enlarges UPerNet's maps of one place wrongly."""
    cv2 = pytest.importorskip('cv2', minversion='5')
    net = cv2.dnn.readNetFromONNX(str(path))
    model = onnx.load(path)
    for name, value in _inputs(model).items():
        net.setInput(value, name)
    found = net.forward([output.name for output in model.graph.output])
    if not _quantized(path) and 'psp_modules' not in str(model.graph):
        _expect_same(path, found)


TOOLS = _checker, _shapes, _onnxslim, _opset_21, _polygraphy, _openvino, _opencv


@pytest.fixture(params=TOOLS, ids=lambda tool: tool.__name__.strip('_'))
def tool(request):
    """A tool of others that takes the path of an ONNX file, and fails if it does not like it."""
    return request.param


def _inputs(model):
    x = np.random.default_rng(0).standard_normal((1, 3, 96, 128), dtype=np.float32)
    values = dict(input=x, sizes=np.array([[96, 128]], np.float32))
    return {value.name: values[value.name] for value in model.graph.input}


def _outputs(model):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, _inputs(model))


def _expect_same(path, found):
    expected = _outputs(onnx.load(path))
    for ours, theirs in zip(expected, found, strict=True):
        difference = np.abs(ours.astype(np.float32) - np.reshape(theirs, ours.shape))
        assert difference.max() <= 0.02 * max(1, np.abs(ours).max())


def _quantized(path):
    return any(node.op_type == 'QuantizeLinear' for node in onnx.load(path).graph.node)


def _build(name):
    config = Config.fromfile(DEMOS / f'{name}.py')
    import_host(config.default_scope)
    if 'efficientvit' in name:
        widths = (32, 48, 64)
        config.model.backbone.arch = dict(
            channels=widths, depths=(1, 1, 1), heads=(2, 3, 2), kernels=(5, 3, 3)
        )
        config.model.neck.in_channels = list(widths)
    else:
        widths = (32, 32, 64, 64)
        config.model.backbone.arch = dict(depths=(1, 1, 1, 2), channels=widths)
        if 'neck' in config.model:
            config.model.neck.in_channels = list(widths[1:])
        else:
            config.model.decode_head.in_channels = list(widths)
            config.model.auxiliary_head.in_channels = 64
    if 'roi_head' in config.model:
        config.model.test_cfg.rpn.max_per_img = 30
        config.model.test_cfg.rcnn.max_per_img = 10
    host = importlib.import_module(f'{config.default_scope}.registry')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return revert_sync_batchnorm(host.MODELS.build(config.model)).eval()


def _images(batch, size, padded):
    x = torch.randn(batch, 3, *padded, generator=torch.Generator().manual_seed(1))
    x[..., size[0] :, :] = 0
    x[..., size[1] :] = 0
    return x, torch.tensor([size] * batch, dtype=torch.float32)
