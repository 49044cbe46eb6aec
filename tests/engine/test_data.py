"""Trainings and evaluations refuse what tools/check_data.py calls an error, before they start."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmtrtvit.datasets import make_shapes
from mmtrtvit.engine.data import check_annotations
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.engine.runner import evaluate, train
from mmtrtvit.errors import UserError

CLASSES = ('disc', 'triangle', 'ring')


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('checked') / 'shapes'
    make_shapes(root, 4, val=2, size=64, seed=3)
    import_host('mmdet')
    return root


@pytest.fixture
def config(shapes):
    loader = dict(
        dataset=dict(
            type='CocoDatasetByName',
            ann_file=str(shapes / 'annotations/instances_training.json'),
            data_prefix=dict(img=str(shapes / 'images/training')),
            metainfo=dict(classes=CLASSES),
            pipeline=[dict(type='LoadAnnotations', with_mask=True)],
        )
    )
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(type='MaskRCNN'),
            train_dataloader=loader,
            test_dataloader=loader,
            test_evaluator=dict(type='CocoMetricByName'),
            train_cfg=dict(max_epochs=1),
        )
    )


@pytest.fixture
def broken(config, shapes, tmp_path):
    """The config, with a polygon that would take all memory of a training."""
    content = json.loads((shapes / 'annotations/instances_training.json').read_text())
    content['annotations'][0]['segmentation'] = [[0, 0, 1e9, 0, 1e9, 1e9]]
    (tmp_path / 'a.json').write_text(json.dumps(content))
    config.train_dataloader.dataset.ann_file = str(tmp_path / 'a.json')
    config.test_dataloader.dataset.ann_file = str(tmp_path / 'a.json')
    return config


def test_sound_annotations(config):
    check_annotations(config, ('train', 'test'))


@pytest.mark.parametrize('run', [train, lambda config: evaluate(config, None)])
def test_what_a_run_refuses(broken, run):
    with pytest.raises(UserError) as caught:
        run(broken)
    message = str(caught.value)
    assert 'entry without something that MMDetection reads (1)' in message
    assert 'annotation 1: segmentation beyond 1000000 pixels' in message
    assert 'tools/check_data.py' in message


class StartedError(Exception):
    """In place of a training."""


def test_a_training_in_spite_of_findings(broken, monkeypatch):
    """It gets as far as the training itself, and says what is wrong before that."""
    warnings = []
    runner = SimpleNamespace(
        logger=SimpleNamespace(warning=warnings.append, info=lambda text: None),
        world_size=1,
        register_hook=lambda hook: None,
        work_dir=str(Path(broken.train_dataloader.dataset.ann_file).parent),
        train_loop=None,
        param_schedulers=None,
    )

    def start(*_, **__):
        raise StartedError

    monkeypatch.setattr('mmtrtvit.engine.runner.build_runner', lambda config: runner)
    monkeypatch.setattr('mmtrtvit.engine.runner.summary', start)
    broken.optim_wrapper = dict()
    with pytest.raises(UserError, match='--ignore-findings trains all the same'):
        train(broken)
    with pytest.raises(StartedError):
        train(broken, ignore_findings=True)
    (warning,) = warnings
    assert 'annotation 1: segmentation beyond 1000000 pixels' in warning


@pytest.mark.parametrize('prefix', [None, dict(img_path=''), dict()])
def test_a_data_set_without_the_folder_of_its_images(config, prefix):
    config.train_dataloader.dataset.pop('data_prefix')
    if prefix is not None:
        config.train_dataloader.dataset.data_prefix = prefix
    with pytest.raises(UserError) as caught:
        train(config)
    message = str(caught.value)
    assert 'train_dataloader.dataset.data_prefix is {' in message
    assert "Set data_prefix=dict(img='FOLDER/')" in message and '\n' not in message


@pytest.mark.parametrize(
    'changes',
    [
        dict(ann_file='s3://bucket/a.json'),
        dict(backend_args=dict(backend='petrel')),
        dict(type='LVISDataset'),
        dict(type='NoDataset'),
        dict(colour=3),
    ],
)
def test_what_is_passed_over(broken, changes):
    """What is elsewhere or cannot be built is left to the host and to its messages."""
    broken.train_dataloader.dataset.update(changes)
    check_annotations(broken, ('train',))
