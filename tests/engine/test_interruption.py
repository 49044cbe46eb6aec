"""Trainings that SIGTERM ends, and what goes on from them."""

import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmtrtvit.engine.interruption import INSIDE_EPOCH, Terminated
from mmtrtvit.engine.runner import train
from mmtrtvit.errors import UserError
from mmtrtvit.weights.checkpoints import newest_checkpoint, read_weights


@HOOKS.register_module(force=True)
class ToyTerminate(Hook):
    """Sends SIGTERM to all processes in an iteration of the training or of its validation.

    The workers of the data loader get it first, and from a process that is not their parent, as
    they do from ``timeout`` and Slurm.
    """

    def __init__(self, iteration, validation=False):
        self.iteration, self.validation = iteration, validation

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if not self.validation and runner.iter + 1 == self.iteration:
            self.send()

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.validation and runner.iter == self.iteration:
            self.send()

    def send(self):
        workers = [str(child.pid) for child in multiprocessing.active_children()]
        while not all(map(shielded, workers)):
            time.sleep(0.01)
        if workers:
            subprocess.run(['kill', '-TERM', *workers], check=True)
            time.sleep(0.2)  # for them to die of it
        os.kill(os.getpid(), signal.SIGTERM)


def shielded(pid):
    """Whether a process blocks SIGTERM, as a worker does once it has begun."""
    status = Path('/proc', pid, 'status').read_text()
    blocked = int(status.split('SigBlk:')[1].split()[0], 16)
    return bool(blocked & 1 << signal.SIGTERM - 1)


def terminated(config, *args):
    config.custom_hooks.append(
        dict(type='ToyTerminate', iteration=args[0], validation=len(args) > 1)
    )
    with pytest.raises(Terminated):
        train(config)
    return newest_checkpoint('killed')


def assert_same(run, other):
    first, second = (read_weights(Path(path, 'epoch_3.pth')) for path in (run, other))
    for key, value in first['state_dict'].items():
        assert torch.equal(value, second['state_dict'][key]), key
    states = (file['optimizer']['state'] for file in (first, second))
    for one, two in zip(*(state.values() for state in states), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('iteration', [1, 6, 7])
def test_a_training_goes_on_inside_an_epoch_bit_for_bit(toy, workers, iteration):
    checkpoint = terminated(toy('killed', workers), iteration)
    assert checkpoint.name == f'iter_{iteration}.pth'
    assert read_weights(checkpoint)[INSIDE_EPOCH]['batches'] == iteration % 4
    train(toy('killed', workers), resume='auto')
    train(toy('whole', workers))
    assert_same('killed', 'whole')


def test_at_the_end_of_an_epoch_its_own_checkpoint_comes_first(toy):
    terminated(toy('killed'), 4)
    assert Path('killed/epoch_1.pth').is_file()
    train(toy('killed'), resume='auto')
    train(toy('whole'))
    assert_same('killed', 'whole')


def test_a_validation_ends_too(toy):
    checkpoint = terminated(toy('killed'), 4, 'validation')
    assert INSIDE_EPOCH not in read_weights(checkpoint)
    train(toy('killed'), resume='auto')
    train(toy('whole'))
    assert_same('killed', 'whole')


def test_a_training_by_iterations_writes_a_checkpoint_first(toy):
    loop = dict(by_epoch=False, max_iters=8, val_interval=8)
    hook = dict(type='SafeCheckpointHook', by_epoch=False, interval=8)
    config = toy('killed', loop=loop, default_hooks=dict(checkpoint=hook))
    assert terminated(config, 3).name == 'iter_3.pth'
    log = train(toy('killed', loop=loop, default_hooks=dict(checkpoint=hook)), resume='auto').log
    assert 'iter: 3' in log.read_text()
    assert Path('killed/iter_8.pth').is_file()


def test_accumulated_gradients_are_not_lost(toy):
    config = toy('killed')
    config.optim_wrapper.accumulative_counts = 2
    assert terminated(config, 5).name == 'iter_6.pth'


def test_another_batch_size_is_refused(toy):
    terminated(toy('killed'), 6)
    config = toy('killed')
    config.train_dataloader.batch_size = 8
    with pytest.raises(UserError, match=r'2 of 4 batches of an epoch by 1 .* has 2 batches'):
        train(config, resume='auto')


def test_signals_are_left_as_they_were(toy):
    before = signal.getsignal(signal.SIGTERM)
    train(toy(loop=dict(by_epoch=True, max_epochs=1)))
    assert signal.getsignal(signal.SIGTERM) is before
