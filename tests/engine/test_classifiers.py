"""Classifiers of MMPretrain: trained, evaluated, looked at, checked, and as a detector's start."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope

from mmtrtvit.datasets import make_shape_folders
from mmtrtvit.engine import evaluate, infer, load, read_config, train
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.engine.speed import FuseHook
from mmtrtvit.errors import UserError
from mmtrtvit.images import read_size
from mmtrtvit.weights.checkpoints import read_weights

pytest.importorskip('mmpretrain')

ROOT = Path(__file__).parents[2]
ARCH = 'dict(_delete_=True, depths=(1, 1, 1, 1), channels=(32, 32, 64, 64))'
CLASSIFIER = f"""
_base_ = '{ROOT}/configs/classification/demo_trtvit_a.py'
model = dict(backbone=dict(arch={ARCH}), head=dict(in_channels=64))
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, batch_size=4)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
"""
DETECTOR = f"""
_base_ = '{ROOT}/configs/demo/retinanet_trtvit_b.py'
model = dict(backbone=dict(arch={ARCH}), neck=dict(in_channels=[32, 64, 64]))
"""


class Watch(Hook):
    """Remembers the shapes of the images that reach the backbone."""

    def __init__(self, seen):
        self.seen = seen

    def before_test(self, runner):
        runner.model.backbone.register_forward_pre_hook(
            lambda module, args: self.seen.append(args[0].shape)
        )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A user's folder with data, configs and a trained classifier in ``run``."""
    folder = tmp_path_factory.mktemp('user')
    make_shape_folders(folder / 'data/shape_folders', 12, val=6, size=64)
    (folder / 'classifier.py').write_text(CLASSIFIER)
    (folder / 'detector.py').write_text(DETECTOR)
    before = os.getcwd()
    os.chdir(folder)
    try:
        train(read_config('classifier.py', work_dir='run'))
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def named(name, **options):
    """The config, for a run whose logger is its own."""
    return read_config('classifier.py', dict(experiment_name=name, **options), work_dir=name)


def test_a_training_leaves_checkpoint_and_log(folder):
    state = read_weights(folder / 'run/iter_6.pth')
    assert state['meta']['dataset_meta']['classes'] == ('disc', 'ring', 'triangle')
    assert state['stream']['images'] == 12
    (log,) = (folder / 'run').glob('*/*.log')
    text = log.read_text()
    assert 'ImageClassifier with TRTViT' in text
    assert '12 images, 3 classes (CustomDataset)' in text
    assert '6 iterations, batch 4 x 1, AdamW at 0.001' in text
    assert text.count('accuracy/top1') >= 1


def test_an_evaluation_at_two_resolutions(folder):
    metrics = evaluate(named('tested'), 'run', show_dir='drawn')
    assert 0 <= metrics['accuracy/top1'] <= 100
    drawn = list((folder / 'drawn').rglob('*.png'))
    assert len(drawn) == 6 and read_size(drawn[0]) == (320, 320)
    larger = named('larger')
    larger.test_dataloader.dataset.pipeline.insert(1, dict(type='Resize', scale=96))
    seen = []
    evaluate(larger, 'run', hooks=[Watch(seen)])
    assert {tuple(shape[2:]) for shape in seen} == {(96, 96)}


def test_a_fused_and_a_compiled_copy_predict_the_same(folder, monkeypatch):
    compiled = []

    def compile_eagerly(module, **options):
        compiled.append((type(module).__name__, options))
        module._compiled_call_impl = torch.compile(
            module._call_impl, **{**options, 'backend': 'eager'}
        )

    monkeypatch.setattr(torch.nn.Module, 'compile', compile_eagerly)
    speed = {'default_hooks.speed.compile': ['neck', 'head']}
    plain, fused, faster = (
        evaluate(named(name, **options), 'run', hooks=hooks, out=f'{name}.pkl')
        for name, options, hooks in (
            ('plain', {}, []),
            ('fused', {}, [FuseHook()]),
            ('compiled', speed, []),
        )
    )
    assert plain == fused == faster
    assert [kind for kind, _ in compiled] == ['GlobalAveragePooling', 'LinearClsHead']
    scores = [
        torch.stack([each['pred_score'] for each in pickle.loads(Path(f'{name}.pkl').read_bytes())])
        for name in ('plain', 'fused', 'compiled')
    ]
    assert torch.allclose(scores[0], scores[1], atol=1e-5)
    assert torch.allclose(scores[0], scores[2], atol=1e-5)


def test_what_is_seen_in_images(folder):
    images = folder / 'data/shape_folders/validation'
    result = infer(named('looked'), 'run', inputs=[images], out_dir='looked', device='cpu')
    assert result.frames == 6 and sum(result.found.values()) == 6
    assert len(list(Path('looked/images').rglob('*.png'))) == 6
    content = json.loads(Path('looked/predictions.json').read_text())
    assert len(content['images']) == 6 and len(content['annotations']) == 18
    first = [each for each in content['annotations'] if each['image_id'] == 1]
    scores = [each['score'] for each in first]
    assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1, abs=1e-4)
    assert {category['name'] for category in content['categories']} == {'disc', 'ring', 'triangle'}
    predictor = load(named('loaded'), 'run', device='cpu')
    (sample,) = predictor([next(images.rglob('*.png'))])
    assert predictor.classes[int(sample.pred_label)] in ('disc', 'ring', 'triangle')


def test_an_inspection(folder):
    from mmtrtvit.annotations.problems import Problem
    from mmtrtvit.datasets.inspection import inspect_data
    from mmtrtvit.datasets.inspection.drawing import draw_inspection

    sound = inspect_data(named('inspected'))
    assert sound.trains
    assert sum(sound.splits[0].counts.values()) == 12
    assert [path.name for path in draw_inspection(sound, 'sheets', 4)] == ['train.png', 'val.png']
    shutil.copytree('data/shape_folders', 'data/damaged')
    damaged = next(Path('data/damaged/training').rglob('*.png'))
    damaged.write_bytes(damaged.read_bytes()[:100])
    found = inspect_data(named('damaged', **{'train_dataloader.dataset.data_root': 'data/damaged'}))
    (finding,) = (each for each in found.findings if each.problem is Problem.UNREADABLE_IMAGE)
    assert not found.trains and damaged.name in finding.places[0]


def test_a_damaged_image_stops_a_training_or_is_counted(folder):
    shutil.copytree('data/shape_folders', 'data/broken')
    broken = next(Path('data/broken/training').rglob('*.png'))
    broken.write_bytes(b'')
    options = {'train_dataloader.dataset.data_root': 'data/broken', 'train_cfg.max_epochs': 1}
    with pytest.raises(UserError, match=broken.name):
        train(named('stopped', **options))
    options['train_dataloader.dataset.pipeline.0.ignore_empty'] = True
    log = train(named('counted', **options)).log.read_text()
    assert re.search(rf'{broken.name} .*: another image takes its place \(\d+ so far\)', log)


def test_a_detector_begins_with_the_backbone(folder):
    config = read_config('detector.py')
    config.model.backbone.init_cfg = dict(
        type='Pretrained', checkpoint='run/iter_6.pth', prefix='backbone.'
    )
    import_host('mmdet')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
        model.init_weights()
    weights = {
        name.removeprefix('backbone.'): value
        for name, value in read_weights('run/iter_6.pth')['state_dict'].items()
        if name.startswith('backbone.')
    }
    mine = model.backbone.state_dict()
    assert mine.keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in mine.items())
    config.model.backbone.arch.channels = (32, 32, 64, 96)
    config.model.neck.in_channels = [32, 64, 96]
    with DefaultScope.overwrite_default_scope('mmdet'), pytest.raises(UserError, match='stages.3'):
        MODELS.build(config.model).init_weights()


def test_the_weights_of_another_variant_are_refused(folder):
    config = named('other')
    config.model.backbone.arch = dict(depths=(1, 1, 2, 1), channels=(32, 32, 64, 64))
    with pytest.raises(UserError, match='looks like the checkpoint of another model'):
        evaluate(config, 'run')


def test_other_classes_begin_with_a_new_head(folder):
    for name in ('disc', 'ring'):
        for split in ('training', 'validation'):
            source = Path('data/shape_folders', split, name)
            if source.is_dir():
                shutil.copytree(source, Path('data/two', split, name))
    Path('two.py').write_text(
        "_base_ = 'classifier.py'\nmetainfo = dict(classes=('disc', 'ring'))\n"
        "load_from = 'run/iter_6.pth'\ndata = 'data/two'\n"
        'train_dataloader = dict(batch_size=2, dataset=dict(data_root=data))\n'
        'val_dataloader = dict(dataset=dict(data_root=data))\ntest_dataloader = val_dataloader\n'
    )
    options = dict(experiment_name='two', **{'train_cfg.max_epochs': 1})
    log = train(read_config('two.py', options, work_dir='two')).log.read_text()
    assert 'is for other classes; these layers start untrained' in log and 'head.fc.weight' in log


def test_mmpretrain_is_asked_for_by_its_extra(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mmtrtvit\[pretrain\]'"):
        import_host('mmpretrain')
