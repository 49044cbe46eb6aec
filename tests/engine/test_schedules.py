"""Schedules with parts that no iteration belongs to."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mmtrtvit.engine.runner import train
from mmtrtvit.engine.schedules import leave_out_idle
from mmtrtvit.errors import UserError

HALF_AN_EPOCH = dict(type='LinearLR', start_factor=0.1, end=0.5, convert_to_iter_based=True)
AFTER_IT = dict(type='CosineAnnealingLR', begin=0.5, convert_to_iter_based=True)
FROM_THE_FIFTH = dict(type='CosineAnnealingLR', begin=5)


def rates(config):
    """The learning rates of a training, and the lines of its log."""
    lines = train(config).log.read_text().splitlines()
    return [float(line.split('lr: ')[1].split()[0]) for line in lines if '(train)' in line], lines


@pytest.fixture
def short(toy):
    """Makes configs of two epochs of one iteration."""

    def make(schedules):
        config = toy(loop=dict(by_epoch=True, max_epochs=2), param_scheduler=schedules)
        config.train_dataloader.batch_size = 16
        config.default_hooks.logger = dict(type='LoggerHook', interval=1)
        return config

    return make


def test_a_warm_up_shorter_than_an_iteration(short):
    found, lines = rates(short([HALF_AN_EPOCH, AFTER_IT]))
    assert found == pytest.approx([0.01, 0.005])
    told = [line for line in lines if 'is left out' in line]
    assert len(told) == 1 and told[0].endswith(
        'WARNING - param_scheduler.0 (LinearLR, from 0 to 0.5 epochs) is left out: no iteration '
        'belongs to it. The training has 2 epochs of 1 iteration.'
    )


def test_nothing_is_left_of_a_schedule(short):
    config = short([FROM_THE_FIFTH])
    assert rates(config)[0] == [0.01, 0.01]
    config.train_cfg.max_epochs = 3
    assert 'Epoch(train) [3]' in train(config, resume='auto').log.read_text()


def test_what_acts_stays(short):
    found, lines = rates(short(dict(type='MultiStepLR', milestones=[1])))
    assert found == pytest.approx([0.01, 0.001])
    assert not any('is left out' in line for line in lines)


def test_a_part_that_ends_before_it_begins(short):
    message = (
        r'param_scheduler\.0 \(CosineAnnealingLR\) ends at 2, before it begins, at 5\. Set '
        r'--cfg-options param_scheduler\.0\.begin=\.\.\. or param_scheduler\.0\.end=\.\.\.$'
    )
    config = short([dict(FROM_THE_FIFTH, end=2)])
    with pytest.raises(UserError, match=message):
        train(config)
    assert not [*Path(config.work_dir).glob('*.pth')]


def test_schedules_of_several_optimizers():
    told = []
    runner = SimpleNamespace(
        param_schedulers=dict(one=[HALF_AN_EPOCH, AFTER_IT], other=HALF_AN_EPOCH, third=None),
        max_epochs=2,
        max_iters=2,
        train_dataloader=[0],
        logger=SimpleNamespace(warning=told.append),
    )
    leave_out_idle(runner)
    assert runner.param_schedulers == dict(one=[AFTER_IT], other=[], third=None)
    assert [text.split(' (')[0] for text in told] == [
        'param_scheduler.one.0',
        'param_scheduler.other',
    ]
