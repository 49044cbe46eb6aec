"""Small models of every kind that can be exported, and their exported files, each made once."""

import functools
import importlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from onnx import TensorProto, helper, numpy_helper

from mmtrtvit.engine.hosts import import_host

DEMOS = Path(__file__).parents[2] / 'configs/demo'


@pytest.fixture(scope='session')
def build():
    """Builds a demo's model with random weights; TRT-ViT's made small."""
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
    def make(name, exporter='torchscript', slimmed=True):
        path = tmp_path_factory.mktemp('exported') / 'end2end.onnx'
        return export_any_size(exportable(name), path, exporter, slimmed=slimmed)

    return make


def _build(name):
    config = Config.fromfile(DEMOS / f'{name}.py')
    import_host(config.default_scope)
    if 'trtvit' in name:
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


def _write_graph(path, kind='fp32', size=(None, None, None), extra=(), names=True):
    """A convolution in a module and a sum behind it, in single precision, half or with QDQ."""
    batch, height, width = (side or name for side, name in zip(size, ('batch', 'height', 'width')))
    nodes = []
    weight = np.resize(np.linspace(-1, 1, 36, dtype=np.float32), (4, 3, 3, 1))
    weights = [numpy_helper.from_array(weight, 'weight')]
    source, maps = 'input', '/backbone/conv/Conv_output_0'
    if kind == 'fp16':
        weights = [numpy_helper.from_array(weight.astype(np.float16), 'weight')]
        nodes.append(helper.make_node('Cast', ['input'], ['half'], '/Cast', to=TensorProto.FLOAT16))
        source = 'half'
    if kind == 'int8':
        weights += [
            numpy_helper.from_array(np.array(0.1, np.float32), 'scale'),
            numpy_helper.from_array(np.array(0, np.int8), 'zero'),
        ]
        nodes += [
            helper.make_node('QuantizeLinear', ['input', 'scale', 'zero'], ['q'], '/Quant'),
            helper.make_node('DequantizeLinear', ['q', 'scale', 'zero'], ['dq'], '/Dequant'),
        ]
        source = 'dq'
    nodes.append(
        helper.make_node(
            'Conv', [source, 'weight'], [maps], '/backbone/conv/Conv', pads=[1, 0, 1, 0]
        )
    )
    nodes += [
        helper.make_node('Cast', [maps], ['single'], '/Cast_1', to=TensorProto.FLOAT),
        helper.make_node('ReduceSum', ['single'], ['sums'], '/Sum'),
        helper.make_node('Add', ['sizes', 'sums'], ['output'], '/Add'),
        *extra,
    ]
    if not names:
        for index, node in enumerate(nodes):
            node.name = f'node_{index}'
    graph = helper.make_graph(
        nodes,
        'graph',
        [
            helper.make_tensor_value_info('input', TensorProto.FLOAT, [batch, 3, height, width]),
            helper.make_tensor_value_info('sizes', TensorProto.FLOAT, [batch, 2]),
        ],
        [helper.make_tensor_value_info('output', TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture(scope='session')
def graph():
    """Writes a small ONNX file."""
    return _write_graph


class CpuStream:
    """What the runner needs of a GPU, in the CPU's memory."""

    def __init__(self, device):
        self.device, self.name, self.handle = torch.device('cpu'), 'a CPU', 0

    @contextmanager
    def active(self):
        yield


@pytest.fixture
def on_cpu(monkeypatch):
    """Lets engines of the stand-ins run, which have their memory in the CPU's."""
    from mmtrtvit.deploy.verify import tensorrt_runner

    monkeypatch.setattr(tensorrt_runner, 'GpuStream', CpuStream)
