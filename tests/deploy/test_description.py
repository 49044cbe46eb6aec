"""The files that describe an exported model."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from mmtrtvit.deploy.description import describe, transforms_of, write_description
from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.engine.config import read_config
from mmtrtvit.errors import UserError
from mmtrtvit.runtime import read_work_dir

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(  # of detectors and segmentors
    path.relative_to(ROOT / 'configs').as_posix()
    for pattern in ('*.py', 'demo/*.py')
    for path in ROOT.glob(f'configs/{pattern}')
    if not path.stem.startswith('classifier_')
)
CLASSES, PALETTE = ('disc', 'triangle', 'ring'), [(230, 80, 70), (80, 180, 90), (80, 120, 230)]


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict={}), path)
    return path


def described(name, weights, net='end2end.onnx', **settings):
    config = read_config(ROOT / 'configs' / name)
    return describe(
        config,
        DeploySettings(**settings),
        net=net,
        classes=CLASSES,
        palette=PALETTE,
        checkpoint=weights,
    )


@pytest.mark.parametrize('name', CONFIGS)
def test_the_runtime_knows_all_transforms_of_our_configs(name, weights):
    content = described(name, weights)
    preprocess = content['pipeline.json']['pipeline']['tasks'][0]
    kinds = [step['type'] for step in preprocess['transforms']]
    assert kinds[:3] == ['LoadImageFromFile', 'Resize', 'Normalize'] and kinds[-1] == 'Collect'


@pytest.mark.parametrize(
    'settings, steps',
    [
        (dict(preprocessing=True), ['Normalize', 'Pad']),
        (dict(preprocessing=True, resizing=True), ['Resize', 'Normalize', 'Pad']),
    ],
)
def test_what_the_graph_does_is_said(weights, settings, steps):
    content = described('demo/retinanet_trtvit_b.py', weights, **settings)
    assert content['deploy.json']['models'][0]['in_graph'] == steps


def test_the_files_of_a_detector_with_masks(weights, tmp_path):
    content = described('demo/mask_rcnn_efficientvit_m2.py', weights, precision='fp16')
    paths = write_description(tmp_path / 'out', content)
    assert [path.name for path in paths] == ['deploy.json', 'pipeline.json', 'detail.json']
    deploy, pipeline, detail = (json.loads(path.read_text()) for path in paths)
    assert deploy['task'] == 'Detector' and deploy['customs'] == []
    assert deploy['models'] == [
        dict(
            name='maskrcnn',
            net='end2end.onnx',
            weights='',
            backend='onnxruntime',
            precision='FP16',
            in_graph=[],
            batch_size=1,
            dynamic_shape=True,
        )
    ]
    preprocess, net, postprocess = pipeline['pipeline']['tasks']
    assert preprocess['module'] == 'Transform' and preprocess['transforms'][1:4] == [
        dict(type='Resize', size=[128, 128], keep_ratio=True),
        dict(
            type='Normalize',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            to_rgb=True,
        ),
        dict(type='Pad', size_divisor=32, pad_val=dict(img=0)),
    ]
    assert net['module'] == 'Net' and net['input_map'] == dict(img='input')
    assert postprocess['module'] == 'mmdet' and postprocess['component'] == 'ResizeInstanceMask'
    params = postprocess['params']
    assert (params['score_thr'], params['max_per_img'], params['mask_thr_binary']) == (
        0.05,
        100,
        0.5,
    )
    assert detail['codebase']['sha256'] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert detail['settings']['precision'] == 'fp16' and 'T' in detail['date']
    assert {'torch', 'mmdet', 'onnxruntime', 'numpy'} <= {*detail['environment']}


def test_the_runtime_reads_what_was_written(weights, tmp_path):
    write_description(
        tmp_path,
        described('demo/upernet_trtvit_a.py', weights, 'end2end.engine', backend='tensorrt'),
    )
    (tmp_path / 'end2end.engine').touch()
    work_dir = read_work_dir(tmp_path)
    assert work_dir.task == 'Segmentor' and work_dir.net == tmp_path / 'end2end.engine'
    assert work_dir.classes == CLASSES and list(work_dir.palette) == PALETTE
    assert (work_dir.params.num_classes, work_dir.params.align_corners) == (4, False)
    deploy = json.loads((tmp_path / 'deploy.json').read_text())
    assert deploy['models'][0]['backend'] == 'tensorrt'


def test_writing_again_leaves_no_half_file(weights, tmp_path, monkeypatch):
    content = described('demo/upernet_trtvit_a.py', weights)
    write_description(tmp_path, content)
    before = (tmp_path / 'deploy.json').read_bytes()
    content['deploy.json']['models'] = {object()}
    with pytest.raises(TypeError):
        write_description(tmp_path, content)
    assert (tmp_path / 'deploy.json').read_bytes() == before
    assert not list(tmp_path.glob('*.part*'))


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(data_preprocessor=dict(type='TrackDataPreprocessor')), 'is a TrackDataPreprocessor'),
        (dict(data_preprocessor=None), 'is a missing'),
    ],
)
def test_an_unknown_data_preprocessor_is_refused(change, message):
    config = read_config(ROOT / 'configs/demo/retinanet_trtvit_b.py')
    config.model.update(change)
    with pytest.raises(UserError, match=message):
        transforms_of(config)


def test_an_unknown_transform_is_refused_by_name(weights):
    config = read_config(ROOT / 'configs/demo/retinanet_trtvit_b.py')
    config.test_dataloader.dataset.pipeline.insert(1, dict(type='YOLOXHSVRandomAug'))
    with pytest.raises(UserError, match='retinanet_trtvit_b.py: the runtime does not know the tr'):
        describe(
            config,
            DeploySettings(),
            net='x.onnx',
            classes=CLASSES,
            palette=PALETTE,
            checkpoint=weights,
        )


def test_a_config_without_a_test_pipeline_is_refused():
    config = read_config(ROOT / 'configs/demo/retinanet_trtvit_b.py')
    config.test_dataloader.dataset.pipeline = []
    with pytest.raises(UserError, match='has no test_dataloader whose pipeline ends with'):
        transforms_of(config)
