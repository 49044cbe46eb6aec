"""Trackers beside trainings: the real ones where they are installed, else imitations."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner.utils import set_random_seed

from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.runner import train
from mmtrtvit.engine.trackers import TRACKERS, backends, tracking
from mmtrtvit.engine.trackers.tracking import IMAGES, RECORD, QuietTracker, check_trackers
from mmtrtvit.errors import UserError
from mmtrtvit.weights.checkpoints import read_weights

SECRET = '0123456789abcdef0123456789abcdef01234567'


class Imitation:
    """Keeps what it is given; ``fails`` names the methods that raise."""

    made: list['Imitation']
    fails: tuple[str, ...]

    def __init__(self, folder, name):
        self.made.append(self)
        self.folder, self.name = folder, name
        self.config, self.scalars, self.images, self.ends = None, [], [], []

    def _may_fail(self, name):
        if name in self.fails:
            raise ConnectionError(f'https://me:{SECRET}@server/ is\nnot there')

    def add_config(self, config):
        self._may_fail('add_config')
        self.config = config
        set_random_seed(1337)  # as ClearML does

    def add_scalars(self, scalars, step):
        self._may_fail('add_scalars')
        self.scalars.append((step, scalars))

    def add_image(self, name, image, step):
        self.images.append((name, step, image))

    def place(self):
        return dict(run='r1', url=f'https://me:{SECRET}@server/runs/r1', folder='')

    def end(self, failed):
        self._may_fail('end')
        self.ends.append(failed)


@pytest.fixture
def imitated(monkeypatch):
    """Puts an imitation in W&B's place; returns a function that tells which methods of it fail, and
    gives the list of those made."""

    def imitate(*fails):
        kind = type('Kind', (Imitation,), dict(made=[], fails=fails))
        monkeypatch.setitem(backends.CLASSES, 'wandb', kind)
        monkeypatch.setattr(tracking, 'find_spec', lambda name: name)
        return kind.made

    return imitate


def records():
    return [json.loads(file.read_text()) for file in Path('run').glob(f'*/{RECORD}')]


def holding(secret, folder='.'):
    return [
        path
        for path in Path(folder).rglob('*')
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


def test_a_tracker_gets_config_and_numbers_and_an_end(toy, imitated):
    made = imitated()
    result = train(toy(trackers='wandb'))
    (tracker,) = made
    assert tracker.folder == result.log.parent
    assert tracker.name == f'run {tracker.folder.name}'
    assert tracker.config.model.type == 'ToyClassifier'
    steps = [step for step, scalars in tracker.scalars if 'loss' in scalars]
    assert steps == [4, 8, 12]
    accuracies = {step: scalars['accuracy'] for step, scalars in tracker.scalars if step < 4}
    assert accuracies.keys() == {1, 2, 3}
    assert all(type(value) is float for _, scalars in tracker.scalars for value in scalars.values())
    assert tracker.ends == [False]
    assert records() == [dict(wandb=dict(run='r1', url='https://server/runs/r1'))]
    assert not holding(SECRET)


def test_a_training_is_the_same_without_a_tracker(toy, imitated):
    imitated()
    once = dict(loop=dict(by_epoch=True, max_epochs=1), custom_hooks=[])  # no seed for each epoch
    first = train(toy('first', **once))
    second = train(toy('second', trackers=['wandb'], **once))
    weights = [read_weights(each.checkpoint)['state_dict'] for each in (first, second)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    assert not list(Path('first').glob(f'*/{RECORD}'))


@pytest.mark.parametrize('fails', ['add_scalars', 'end'])
def test_a_tracker_that_fails_ends_no_training(toy, imitated, fails):
    imitated(fails)
    result = train(toy(trackers=['wandb'], loop=dict(by_epoch=True, max_epochs=2)))
    assert result.checkpoint.name == 'epoch_2.pth'
    log = result.log.read_text()
    assert log.count('the tracker wandb: https://server/ is not there') == 1
    assert SECRET not in log


def test_a_tracker_that_cannot_start_is_told(toy, imitated):
    made = imitated('add_config')
    with pytest.raises(UserError) as caught:
        train(toy(trackers=['wandb']))
    assert str(caught.value) == 'the tracker wandb cannot start: https://server/ is not there'
    assert made[0].ends == [True] and not records()


def test_a_training_that_fails_is_told_to_the_tracker(toy, imitated):
    made = imitated()
    config = toy(trackers=['wandb'], param_scheduler=[])
    config.optim_wrapper.optimizer = dict(type='SGD', lr=1e30)
    with pytest.raises(UserError, match='not finite'):
        train(config)
    assert made[0].ends == [True]


@pytest.mark.parametrize(
    'given, installed, message',
    [
        ('wanbd', True, "trackers='wanbd': expected some of tensorboard, .*Did you mean wandb"),
        (['tensorboard', 3], True, 'trackers=3: expected some of'),
        ('aim', False, 'the tracker aim is not installed: pip install aim'),
    ],
)
def test_trackers_that_are_not_there(toy, monkeypatch, given, installed, message):
    monkeypatch.setattr(tracking, 'find_spec', lambda name: installed or None)
    with pytest.raises(UserError, match=message):
        train(toy(trackers=given))
    assert not Path('run').exists()


@pytest.mark.parametrize(
    'key, config',
    [
        ('a.0.init_kwargs.api_key', dict(a=[dict(init_kwargs=dict(api_key=SECRET))])),
        ('model.auth_token', dict(model=dict(auth_token=SECRET))),
        ('load_from', dict(load_from=f'https://me:{SECRET}@server/epoch_1.pth')),
    ],
)
def test_a_config_with_a_secret_is_not_sent(monkeypatch, key, config):
    monkeypatch.setattr(tracking, 'find_spec', lambda name: name)
    with pytest.raises(UserError) as caught:
        check_trackers(Config(dict(config, trackers='wandb')))
    assert str(caught.value).startswith(f'{key} holds a key or a password')
    assert SECRET not in str(caught.value)
    check_trackers(Config(config))  # it is not sent anywhere


def test_nor_is_one_given_to_mmengines_backends():
    backend = dict(type='WandbVisBackend', init_kwargs=dict(api_key=SECRET))
    with pytest.raises(UserError, match=r'^visualizer.vis_backends.0.init_kwargs.api_key holds'):
        check_trackers(Config(dict(visualizer=dict(vis_backends=[backend]))))


def test_words_that_only_look_like_secrets_are_fine():
    config = dict(model=dict(cls_token='yes', key_channels=16), trackers=())
    assert check_trackers(Config(config)) == ()


def test_other_names_than_those_of_the_classes_are_none():
    assert tuple(backends.CLASSES) == TRACKERS


@pytest.mark.parametrize('kind', ['retinanet', 'fpn', 'classifier'])
def test_the_first_images_of_a_validation_are_drawn(kind, small_models, tmp_path, monkeypatch):
    """In a validation alone, to spare the training."""
    from mmtrtvit.engine.runner import build_runner

    shutil.copytree(small_models / 'data', tmp_path / 'data')
    monkeypatch.chdir(tmp_path)
    config = read_config(small_models / f'{kind}.py', work_dir=tmp_path / 'run')
    config.experiment_name = f'drawn_{kind}_{time.time_ns()}'
    config.default_hooks.checkpoint.save_best = None  # needs a training
    config.load_from = str(small_models / f'{kind}.pth')
    config.val_dataloader.update(num_workers=0, batch_size=2, persistent_workers=False)
    config.train_dataloader.batch_size = 2
    if kind == 'retinanet':
        monkeypatch.setattr(tracking, 'SCORE', 0.0)
    runner = build_runner(config)
    tracker = type('Kind', (Imitation,), dict(made=[], fails=()))(None, '')
    runner.register_hook(tracking.TrackedImagesHook([QuietTracker('wandb', tracker)]))
    runner.val()
    count = min(IMAGES, len(runner.val_dataloader.dataset))
    names = [name for name, _, _ in tracker.images]
    assert names == [f'validation/{number}' for number in range(1, count + 1)]
    paths = [runner.val_dataloader.dataset.get_data_info(i)['img_path'] for i in range(count)]
    for path, (_, _, drawn) in zip(paths, tracker.images):
        image = tracking.read_image(path)[..., ::-1]
        assert drawn.shape == image.shape and drawn.dtype == np.uint8
        assert not np.array_equal(drawn, image)


def keys_of_trackers(monkeypatch):
    for name in ('WANDB_API_KEY', 'MLFLOW_TRACKING_PASSWORD', 'CLEARML_API_SECRET_KEY'):
        monkeypatch.setenv(name, SECRET)


def test_tensorboard_really(toy, monkeypatch):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    keys_of_trackers(monkeypatch)
    train(toy(trackers='tensorboard'))
    (record,) = records()
    folder = record['tensorboard']['folder']
    assert record['tensorboard']['look'] == f'tensorboard --logdir {folder}'
    events = EventAccumulator(folder)
    events.Reload()
    assert [event.step for event in events.Scalars('loss')] == [4, 8, 12]
    assert [event.step for event in events.Scalars('accuracy')] == [1, 2, 3]
    assert 'config/text_summary' in events.Tags()['tensors']
    assert not holding(SECRET)


def test_mlflow_really(toy, tmp_path, monkeypatch):
    mlflow = pytest.importorskip('mlflow')
    keys_of_trackers(monkeypatch)
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'sqlite:///{tmp_path}/mlflow.db')
    monkeypatch.setenv('MLFLOW_EXPERIMENT_NAME', 'toys')
    train(toy(trackers='mlflow'))
    (record,) = records()
    client = mlflow.MlflowClient()
    run = client.get_run(record['mlflow']['run'])
    assert run.info.status == 'FINISHED' and run.data.params['model.type'] == 'ToyClassifier'
    history = client.get_metric_history(run.info.run_id, 'loss')
    assert [metric.step for metric in history] == [4, 8, 12]
    assert client.get_experiment(run.info.experiment_id).name == 'toys'
    assert not holding(SECRET)
