"""Another MM project inherits our configs or takes our backbones, with its tools and with ours."""

import importlib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData

from mmtrtvit.datasets import make_shapes
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.paths import tool_path
from mmtrtvit.weights.checkpoints import read_weights

ROOT = Path(__file__).parents[1]

# The configs of docs/inherit.md, and those that it says fit another model of the host as well.
DOCUMENTED = dict(
    re.findall(r'```python\n# (\w+)\.py\n(.*?)```', (ROOT / 'docs/inherit.md').read_text(), re.S)
)
OTHERS = {
    'faster_rcnn': ('faster_rcnn/faster-rcnn', 'cascade_rcnn', 'cascade_rcnn/cascade-rcnn'),
    'fcos': ('fcos/fcos_r50-caffe_fpn_gn-head', 'atss', 'atss/atss_r50_fpn'),
}
BACKBONES = {name: text for name, text in DOCUMENTED.items() if not name.startswith('my_')}
for method, (base, other, other_base) in OTHERS.items():
    for family in ('trtvit', 'efficientvit'):
        text = BACKBONES[f'{method}_{family}']
        BACKBONES[f'{other}_{family}'] = text.replace(base, other_base)

TINY = 'depths=(1, 1, 1, 1), channels=(32, 32, 64, 64)'

# A whole model of ours, by package. The run's copy of the config will tell by which one.
BASE = "__import__('mmtrtvit').config_path('demo/retinanet_trtvit_b.py')"
DETECTOR = f"""
_base_ = {BASE}
origin = {BASE}
model = dict(
    backbone=dict(arch=dict(_delete_=True, {TINY})),
    neck=dict(in_channels=[32, 64, 64], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
    test_cfg=dict(score_thr=0.))
train_dataloader = dict(num_workers=0)
val_dataloader = dict(num_workers=0)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
"""

# The same, by path.
BY_PATH = DETECTOR.replace(BASE, f"'{ROOT}/configs/demo/retinanet_trtvit_b.py'")

# The backbone alone, in MMSegmentation's own config and with its schedule, cut short.
SEGMENTOR = f"""
_base_ = __import__('mmtrtvit').config_path(
    'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py')
custom_imports = dict(imports=['mmtrtvit'], allow_failed_imports=False)
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(_delete_=True, type='TRTViT', arch=dict({TINY})),
    decode_head=dict(in_channels=[32, 32, 64, 64], channels=32))

def loader(pipeline):
    return dict(
        batch_size=2, num_workers=0, persistent_workers=False,
        dataset=dict(data_root='data/shapes', pipeline=pipeline))

pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', reduce_zero_label=True),
            dict(type='PackSegInputs')]
train_dataloader = loader(pipeline)
val_dataloader = test_dataloader = loader(pipeline)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """The folder of another project: data and configs."""
    folder = tmp_path_factory.mktemp('project')
    make_shapes(folder / 'data/shapes', 4, val=2, size=64)
    files = dict(detector=DETECTOR, by_path=BY_PATH, segmentor=SEGMENTOR, **BACKBONES)
    for name, text in files.items():
        (folder / f'{name}.py').write_text(text)
    return folder


@pytest.fixture(scope='module')
def run(project, installed):
    """Runs Python in the project, with the installed mmtrtvit, and returns what it printed."""

    def run(*args):
        path = os.pathsep.join([str(installed), os.environ.get('PYTHONPATH', '')])
        done = subprocess.run(
            [sys.executable, *args],
            cwd=project,
            capture_output=True,
            text=True,
            env=dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1'),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope='module')
def detector(run, project):
    """The checkpoint of a detector, trained with MMDetection's tool."""
    run(tool_path('mmdet::train.py'), 'detector.py')
    return project / 'work_dirs/detector/epoch_1.pth'


@pytest.fixture(scope='module')
def segmentor(run, project):
    """The checkpoint of a segmentor, trained with MMSegmentation's tool."""
    run(tool_path('mmseg::train.py'), 'segmentor.py')
    return project / 'work_dirs/segmentor/iter_2.pth'


def test_the_config_comes_from_the_installed_package(detector, installed):
    copy = detector.with_name('detector.py')
    assert 'config_path' not in copy.read_text()
    assert Config.fromfile(copy).origin == (
        f'{installed}/mmtrtvit/.mim/configs/demo/retinanet_trtvit_b.py'
    )


def test_the_tool_of_mmdet_evaluates(run, detector):
    out = run('-m', 'mmtrtvit', 'run', 'mmdet::test.py', 'detector.py', detector)
    assert re.search(r'coco/bbox_mAP: \d\.\d{4}', out)


def test_the_tool_of_mmseg_evaluates(run, segmentor):
    out = run(tool_path('mmseg::test.py'), 'segmentor.py', segmentor)
    assert re.search(r'mIoU: \d+\.\d{4}', out)


@pytest.fixture
def call(project, monkeypatch, capfd):
    """Runs one of our tools in the project, but in this process, and returns what it printed."""
    monkeypatch.chdir(project)
    monkeypatch.setenv('LOCAL_RANK', '0')

    def call(tool, *args):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
        runpy.run_path(tool_path(tool), run_name='__main__')
        return capfd.readouterr().out

    return call


def test_our_tools_train_by_path_and_evaluate(call, segmentor):
    call('train.py', 'by_path.py', '--no-report')
    state = read_weights('work_dirs/by_path/epoch_1.pth')['state_dict']
    assert state['neck.lateral_convs.0.conv.weight'].shape == (32, 32, 1, 1)
    assert re.search(r'^mIoU +\d+\.\d+$', call('test.py', 'segmentor.py', segmentor), re.M)


def build(config):
    """Builds a model in the scope of its host, on one device."""
    import_host(config.default_scope)
    torch.manual_seed(0)
    registry = importlib.import_module(f'{config.default_scope}.registry').MODELS
    return revert_sync_batchnorm(registry.build(config.model))


def inputs_for(scope):
    """Two images with their annotations."""
    if scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        return demo_mm_inputs(2, [[3, 64, 96], [3, 96, 64]], num_classes=80)
    from mmseg.structures import SegDataSample

    images = [torch.randint(256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
    labels = [PixelData(data=torch.randint(150, (1, 64, 64))) for _ in range(2)]
    shapes = dict(img_shape=(64, 64), ori_shape=(64, 64))
    return dict(
        inputs=images,
        data_samples=[SegDataSample(gt_sem_seg=label, metainfo=shapes) for label in labels],
    )


@pytest.mark.parametrize('name', BACKBONES)
def test_a_backbone_in_a_model_of_the_host(project, name):
    config = Config.fromfile(project / f'{name}.py')
    if config.default_scope == 'mmseg':
        config.model.data_preprocessor.size = (64, 64)
    if 'rcnn' in name:
        config.model.train_cfg.rpn_proposal.max_per_img = 20
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = build(config)
        assert type(model.backbone).__module__.startswith('mmtrtvit.')
        assert model.data_preprocessor.std[2, 0, 0] == 57.375  # that of ImageNet
        inputs = inputs_for(config.default_scope)
        losses = model(**model.data_preprocessor(inputs, training=True), mode='loss')
        total, _ = model.parse_losses(losses)
        total.backward()
        assert torch.isfinite(total)
        unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert not unused  # or training on several GPUs fails
        model.eval()
        with torch.no_grad():
            results = model(**model.data_preprocessor(inputs), mode='predict')
    assert len(results) == 2
    if config.default_scope == 'mmseg':
        assert results[0].pred_sem_seg.shape == (64, 64)


@pytest.mark.parametrize('name', [name for name in BACKBONES if name.startswith('segformer')])
def test_the_backbone_keeps_the_base_learning_rate(project, name):
    config = Config.fromfile(project / f'{name}.py')
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = build(config)
        optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    rates = {id(group['params'][0]): group['lr'] for group in optimizer.param_groups}
    found = {
        part: {rates[id(parameter)] for parameter in getattr(model, part).parameters()}
        for part in ('backbone', 'decode_head')
    }
    base = config.optim_wrapper.optimizer.lr
    assert found == {'backbone': {base}, 'decode_head': {base * 10}}


@pytest.mark.parametrize('name', [name for name in DOCUMENTED if name.startswith('my_')])
def test_a_documented_whole_model(tmp_path, name):
    text = DOCUMENTED[name].replace('/path/to/mmtrtvit', str(ROOT))
    (tmp_path / f'{name}.py').write_text(text)
    config = Config.fromfile(tmp_path / f'{name}.py')
    with DefaultScope.overwrite_default_scope(config.default_scope), torch.device('meta'):
        model = build(config)
    heads = [
        getattr(model, 'bbox_head', None) or model.roi_head.bbox_head,
        *([model.roi_head.mask_head] if 'mask' in name else []),
    ]
    assert [head.num_classes for head in heads] == [2] * len(heads)


def test_documented_channels_and_strides():
    from mmengine.registry import MODELS

    rows = re.findall(
        r'^\| (\w+ViT) \| (\w+) \| ([\d, ]+) \| ([\d, ]+) \|$',
        (ROOT / 'docs/inherit.md').read_text(),
        re.M,
    )
    assert {(family, arch) for family, arch, *_ in rows} == {
        (family, arch)
        for family in ('TRTViT', 'EfficientViT')
        for arch in MODELS.get(family).arch_settings
    }
    for family, arch, channels, strides in rows:
        with torch.device('meta'):
            backbone = MODELS.build(dict(type=family, arch=arch))
        assert channels == ', '.join(map(str, backbone.out_channels))
        assert strides == ', '.join(map(str, backbone.out_strides))
