"""What several tests need."""

import importlib.util
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (
    'mmtrtvit',
    'configs',
    'tools',
    'setup.py',
    'pyproject.toml',
    'MANIFEST.in',
    'model-index.yml',
    'README.md',
    'LICENSE',
)

SMALL_MODELS = {
    'retinanet': f"""
_base_ = '{ROOT}/configs/demo/retinanet_trtvit_b.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 1, 1), channels=(32, 32, 64, 64))),
    neck=dict(in_channels=[32, 64, 64], out_channels=64),
    bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=1,
                   anchor_generator=dict(octave_base_scale=4)),
    test_cfg=dict(max_per_img=10))
""",
    'mask_rcnn': f"""
_base_ = '{ROOT}/configs/demo/mask_rcnn_efficientvit_m2.py'
model = dict(
    backbone=dict(arch='m0'),
    neck=dict(in_channels=[64, 128, 192]),
    roi_head=dict(bbox_head=dict(fc_out_channels=32), mask_head=dict(num_convs=1)),
    test_cfg=dict(rcnn=dict(max_per_img=10)))
""",
    'upernet': f"""
_base_ = '{ROOT}/configs/demo/upernet_trtvit_a.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 1, 1), channels=(32, 32, 64, 64))),
    decode_head=dict(in_channels=[32, 32, 64, 64], channels=16),
    auxiliary_head=dict(in_channels=64, channels=16))
""",
    'fpn': f"""
_base_ = '{ROOT}/configs/demo/fpn_efficientvit_m4.py'
model = dict(backbone=dict(arch='m0'), neck=dict(in_channels=[64, 128, 192]))
""",
    'classifier': f"""
_base_ = '{ROOT}/configs/classification/demo_trtvit_a.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 1, 1), channels=(32, 32, 64, 64))),
    head=dict(in_channels=64))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=80, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs')]
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
""",
}


def pytest_addoption(parser):
    parser.addoption(
        '--fuzz-examples',
        type=int,
        default=50,
        help='how many damaged inputs tests/test_fuzz.py gives to each reader (default: 50)',
    )


def pytest_configure(config):
    """Hides the GPU from all tests but those that ask for it."""
    if config.option.markexpr != 'gpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''


def pytest_runtest_setup(item):
    import torch

    if item.get_closest_marker('gpu') and not torch.cuda.is_available():
        pytest.skip('needs a GPU and pytest -m gpu')


@pytest.fixture(autouse=True)
def no_scope():
    """Forgets the default_scope of runs of earlier tests, which MMEngine keeps for all of a process
    that comes later."""
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='session')
def source(tmp_path_factory):
    """A copy of the repository's part that mmtrtvit is installed from."""
    folder = tmp_path_factory.mktemp('source')
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for path in (ROOT / name for name in SOURCES):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=ignore)
        else:
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope='session')
def installed(source, tmp_path_factory):
    """A folder that mmtrtvit is installed into, from a wheel made of its source distribution."""
    folder = tmp_path_factory.mktemp('installed')
    subprocess.run([sys.executable, 'setup.py', '--quiet', 'sdist'], cwd=source, check=True)
    (archive,) = source.glob('dist/*.tar.gz')
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'install',
            '--quiet',
            '--no-deps',
            '--no-build-isolation',
            '--target',
            folder,
            archive,
        ],
        check=True,
    )
    return folder


@pytest.fixture
def stand_in(monkeypatch):
    """Puts a stand-in for a version of TensorRT in the package's place."""
    name = 'tensorrt_stand_in'
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tests/{name}/__init__.py')
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, package)
    spec.loader.exec_module(package)

    def install(version, **options):
        trt = package.make(version, **options)
        monkeypatch.setitem(sys.modules, 'tensorrt', trt)
        return trt

    return install


@pytest.fixture(scope='session')
def small_models(tmp_path_factory):
    """A folder with a small model of each kind, ``NAME.py`` and ``NAME.pth``, and data for all.

    Copy it before you write to it.
    """
    from mmtrtvit.datasets import make_shape_folders, make_shapes

    folder = tmp_path_factory.mktemp('small_models')
    make_shape_folders(folder / 'data/shape_folders', 6, val=6)
    make_shapes(folder / 'data/shapes', 1, val=3, size=(64, 96))
    for name, text in SMALL_MODELS.items():
        (folder / f'{name}.py').write_text(text)
        write_checkpoint(folder / f'{name}.py', folder / f'{name}.pth')
    return folder


def write_checkpoint(config, path):
    """Random weights that find something, in a file as MMEngine writes it."""
    import torch
    from mmengine.logging import HistoryBuffer
    from mmengine.registry import MODELS, DefaultScope

    from mmtrtvit.engine.config import read_config
    from mmtrtvit.engine.hosts import import_host

    config = read_config(config)
    import_host(config.default_scope)
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    for name, module in model.named_modules():
        if name.endswith(('retina_cls', 'fc_cls', 'conv_seg', 'conv_logits', 'head.fc')):
            wide = name.endswith(('fc_cls', 'conv_seg', 'conv_logits'))
            torch.nn.init.normal_(module.weight, std=1 if wide else 0.05)
            module.weight.data -= module.weight.data.mean(1, keepdim=True)
            torch.nn.init.zeros_(module.bias)
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.running_mean, std=0.1)
    metainfo = dict(config.test_dataloader.dataset.metainfo)
    history = dict(log_scalars=dict(loss=HistoryBuffer([1.0], [1])))
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=metainfo), message_hub=history),
        path,
    )


@pytest.fixture
def full_disk():
    """A context in which no file grows over some bytes; the error is EFBIG instead of ENOSPC."""
    resource = pytest.importorskip('resource')  # not on Windows

    @contextmanager
    def full_disk(size):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return full_disk


ENDLESS = """<ir_version: 8, opset_import: ["" : 17]>
g (float[B, 3, H, W] input) => (float[B, 3, H, W] output)
<float[3, 3, 1, 1] weight = {1, 0, 0, 0, 1, 0, 0, 0, 1}> {
    same = Conv (input, weight)
    trips = Constant <value: tensor = int64 {9223372036854775807}> ()
    more = Constant <value: tensor = bool {1}> ()
    output = Loop <body = again (int64 trip, bool before, float[B, 3, H, W] old)
        => (bool after, float[B, 3, H, W] new) { after = Identity (before)  new = Add (old, old) }>
        (trips, more, same)
}"""


def _write_graph(path, kind='fp32', size=(None, None, None), extra=(), names=True):
    """A convolution in a module and a sum behind it, in single precision, half or with Q and DQ."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    batch, height, width = (side or name for side, name in zip(size, ('batch', 'height', 'width')))
    nodes = []
    weight = np.resize(np.linspace(-1, 1, 36, dtype=np.float32), (4, 3, 3, 1))
    weights = [numpy_helper.from_array(weight, 'weight')]
    source, maps = 'input', '/backbone/conv/Conv_output_0'
    if kind == 'fp16':
        weights = [numpy_helper.from_array(weight.astype(np.float16), 'weight')]
        nodes.append(helper.make_node('Cast', ['input'], ['half'], '/Cast', to=TensorProto.FLOAT16))
        source = 'half'
    if kind in ('int8', 'fp8'):
        eight = TensorProto.INT8 if kind == 'int8' else TensorProto.FLOAT8E4M3FN
        weights += [
            numpy_helper.from_array(np.array(0.1, np.float32), 'scale'),
            helper.make_tensor('zero', eight, [], b'\0', raw=True),
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
    opset = helper.make_opsetid('', 19 if kind == 'fp8' else 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture(scope='session')
def graph():
    """Writes a small ONNX file."""
    return _write_graph


@pytest.fixture(scope='session')
def endless():
    """Writes an ONNX file of a segmentor whose runs never end."""

    def write(path):
        import onnx

        graph = onnx.parser.parse_model(ENDLESS)
        graph.graph.node[0].name = 'layer'  # to quantize
        onnx.save(graph, path)
        return path

    return write


@pytest.fixture
def on_cpu(monkeypatch):
    """Puts PyTorch's memory into the CPU's, where engines of the stand-ins have theirs; returns the
    class."""
    import torch

    from mmtrtvit.deploy.backends.tensorrt import backend as opening
    from mmtrtvit.deploy.backends.tensorrt.torch_memory import TorchMemory

    class CpuMemory(TorchMemory):
        def __init__(self, device='cuda:0'):
            self.device, self.gpu, self.stream = torch.device('cpu'), 'a CPU', 0
            self._tensors = {}

        @contextmanager
        def active(self):
            yield

    monkeypatch.setattr(opening, 'TorchMemory', CpuMemory)
    return CpuMemory
