"""Augmentations by one line: built, and trained with for an iteration on generated shapes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from mmtrtvit.engine.augment import AUGMENTATIONS
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.errors import UserError
from mmtrtvit.paths import config_path

PAIRS = [
    ('retinanet', 'class_balanced'),
    ('retinanet', 'mosaic'),
    ('retinanet', 'mixup'),
    ('mask_rcnn', 'class_balanced'),
    ('mask_rcnn', 'mosaic'),
    ('mask_rcnn', 'copy_paste'),
    ('fpn', 'mosaic'),
    ('classifier', 'class_balanced'),
]


@pytest.fixture
def folder(trainable_models, tmp_path, monkeypatch):
    monkeypatch.chdir(trainable_models)
    return tmp_path


def inheriting(folder, model, *names, more=''):
    """A config of a model with augmentations, by the line that the docs have."""
    bases = [str(Path.cwd() / f'{model}.py')]
    lines = [f"__import__('mmtrtvit').config_path('_base_/augment/{name}.py')" for name in names]
    path = folder / 'own.py'
    path.write_text(f'_base_ = [{", ".join([repr(bases[0]), *lines])}]\n{more}')
    return path


def batches(config):
    loader = config.train_dataloader
    loader.update(num_workers=0, batch_size=2)
    loader.pop('persistent_workers', None)
    import_host(config.default_scope)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return Runner.build_dataloader(loader, seed=0)


@pytest.mark.parametrize('model, name', PAIRS)
def test_one_line_and_one_iteration(folder, model, name):
    config = read_config(inheriting(folder, model, name))
    assert f'augment_{name}' not in config
    again = Config.fromstring(config.pretty_text, '.py')  # complete without our reading
    assert again.train_dataloader == config.train_dataloader
    np.random.seed(0)
    torch.manual_seed(0)
    batch = next(iter(batches(config)))
    with DefaultScope.overwrite_default_scope(config.default_scope):
        network = MODELS.build(config.model)
        optimizer = build_optim_wrapper(network, dict(optimizer=config.optim_wrapper.optimizer))
    losses = network.train_step(batch, optimizer)
    assert torch.isfinite(losses['loss'])


def test_a_mosaic_has_parts_of_several_images(folder):
    config = read_config(
        inheriting(folder, 'retinanet', 'mosaic', more='augment_mosaic = dict(prob=1.0)')
    )
    data = batches(config).dataset
    np.random.seed(0)
    samples = [data[index % len(data)] for index in range(12)]
    pipeline = [step.type for step in config.train_dataloader.dataset.pipeline]
    assert pipeline[:4] == ['LoadImageFromFile', 'LoadAnnotations', 'CachedMosaic', 'RandomCrop']
    counts = [len(sample['data_samples'].gt_instances) for sample in samples]
    assert all(sample['inputs'].shape[0] == 3 for sample in samples) and max(counts) > 3


def test_rare_classes_come_more_often(folder):
    few = batches(read_config(inheriting(folder, 'retinanet'))).dataset
    config = read_config(inheriting(folder, 'retinanet', 'class_balanced'))
    config.train_dataloader.dataset.oversample_thr = 4.0  # every class is rarer than that
    assert len(batches(config).dataset) >= 2 * len(few)


def test_several_at_once(folder):
    config = read_config(inheriting(folder, 'mask_rcnn', 'mosaic', 'copy_paste', 'class_balanced'))
    outer = config.train_dataloader.dataset
    assert outer.type == 'MultiImageMixDataset' and outer.dataset.type == 'ClassBalancedDataset'
    assert outer.dataset.dataset.type == 'CocoDatasetByName'
    for sample, _ in zip(batches(config), range(2)):
        assert len(sample['inputs']) == 2


def test_by_an_option_of_the_command_line(folder):
    config = read_config(
        inheriting(folder, 'retinanet'), {'augment_class_balanced.oversample_thr': 0.3}
    )
    assert config.train_dataloader.dataset.type == 'ClassBalancedDataset'
    config = read_config(inheriting(folder, 'fpn', 'mosaic'), {'augment_mosaic.prob': 0.1})
    assert config.train_dataloader.dataset.pipeline[0].prob == 0.1


@pytest.mark.parametrize(
    'model, name, message',
    [
        ('retinanet', 'copy_paste', 'augment_copy_paste pastes masks: it is for instance'),
        ('mask_rcnn', 'mixup', 'augment_mixup mixes boxes and no masks'),
        ('fpn', 'mixup', 'augment_mixup is for mmdet; this config is for mmseg'),
        ('fpn', 'class_balanced', 'augment_class_balanced is for mmdet and mmpretrain'),
        ('classifier', 'mosaic', 'augment_mosaic is for mmdet and mmseg'),
    ],
)
def test_what_a_model_cannot_learn_from(folder, model, name, message):
    with pytest.raises(UserError, match=message):
        read_config(inheriting(folder, model, name))


def test_pipelines_that_do_not_fit(folder):
    sizes = 'train_dataloader = dict(dataset=dict(pipeline=[dict(type="LoadAnnotations")]))'
    with pytest.raises(UserError, match=r'Set augment_mosaic.scale=\(WIDTH, HEIGHT\)'):
        read_config(inheriting(folder, 'retinanet', 'mosaic', more=sizes))
    with pytest.raises(UserError, match='whose pipeline has LoadAnnotations'):
        read_config(inheriting(folder, 'retinanet', 'mosaic', more=sizes.replace('Load', 'No')))
    with pytest.raises(UserError, match='augment_mosaic is 1, expected its options'):
        read_config(inheriting(folder, 'retinanet'), {'augment_mosaic': 1})


def test_the_files_say_what_they_are_for():
    files = [*Path(config_path('_base_/augment/mosaic.py')).parent.glob('*.py')]
    assert {f'augment_{file.stem}' for file in files} == {*AUGMENTATIONS}
    for file in files:
        text = file.read_text()
        assert text.startswith('# ') and f'\naugment_{file.stem} = dict(' in text
