"""Trainings by a stream of samples that are killed and go on."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmtrtvit.engine.runner import train
from mmtrtvit.errors import UserError
from mmtrtvit.weights.checkpoints import read_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture
def streamed(toy):
    """Makes configs of 3 epochs of 8 iterations: EMA, AGC, two batches for each update."""

    def make(work_dir, workers=0, kill_at=None, **changes):
        config = toy(
            work_dir,
            workers,
            loop=dict(type='StreamLoop', max_epochs=3),
            kill_at=kill_at,
            default_hooks=dict(
                checkpoint=dict(type='SafeCheckpointHook', by_epoch=False, interval=6)
            ),
            log_processor=dict(by_epoch=False),
            **changes,
        )
        config.train_dataloader.update(
            batch_size=2, drop_last=True, sampler=dict(type='StreamSampler')
        )
        config.train_dataloader.pop('worker_init_fn')
        config.optim_wrapper.update(accumulative_counts=2)
        config.param_scheduler = [
            dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
            dict(type='CosineAnnealingLR', begin=1, convert_to_iter_based=True),
        ]
        config.custom_hooks = [
            dict(type='StreamHook'),
            dict(type='AGCHook', clip_factor=0.02, exclude=('head',)),
            dict(type='EMAHook', momentum=0.1, update_buffers=True),
            *config.custom_hooks[2:],
        ]
        return config

    return make


def assert_same(one, other):
    first, second = read_weights(one), read_weights(other)
    for part in ('state_dict', 'ema_state_dict'):
        assert first[part].keys() == second[part].keys()
        for key, value in first[part].items():
            assert torch.equal(value, second[part][key]), key
    states = (file['optimizer']['state'].values() for file in (first, second))
    for mine, theirs in zip(*states, strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    groups = (file['optimizer']['param_groups'][0]['lr'] for file in (first, second))
    assert len({*groups}) == 1


def test_a_killed_training_goes_on_bit_for_bit(streamed, train_in_child):
    assert train_in_child(streamed('killed', kill_at=11)) == -signal.SIGKILL
    assert [path.name for path in Path('killed').glob('*.pth')] == ['iter_6.pth']
    shutil.copytree('killed', 'workers')
    train(streamed('killed'), resume='auto')
    whole = streamed('whole')
    train(whole)
    assert whole.train_dataloader.dataset.type == 'SeededSamples'
    assert_same('killed/iter_24.pth', 'whole/iter_24.pth')
    train(streamed('workers', workers=2), resume='auto')
    assert_same('workers/iter_24.pth', 'whole/iter_24.pth')


def test_what_would_change_the_stream_is_refused(streamed):
    config = streamed('run')
    config.train_cfg.max_epochs = 2
    train(config)
    other = streamed('run')
    other.train_dataloader.batch_size = 4
    with pytest.raises(UserError, match=r'1 process\(es\), 2 images in a batch .* 4 images in a'):
        train(other, resume='auto')
    short = streamed('short')
    short.train_dataloader.batch_size = 32
    with pytest.raises(UserError, match='more than the images of a process, 16'):
        train(short)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(sampler=dict(type='DefaultSampler', shuffle=True)), 'is DefaultSampler: it needs'),
        (dict(loop=dict(type='StreamLoop')), 'needs either max_epochs or max_iters'),
    ],
)
def test_a_loop_that_cannot_be(streamed, change, message):
    config = streamed('run')
    config.train_cfg = change.pop('loop', config.train_cfg)
    config.train_dataloader.update(change)
    with pytest.raises(UserError, match=message):
        train(config)


def test_a_checkpoint_between_two_updates_is_refused(streamed):
    config = streamed('run')
    config.default_hooks.checkpoint.interval = 5
    with pytest.raises(UserError, match=r'interval=5 is no multiple .*_counts=2.*interval=6'):
        train(config)


TWO = """
import importlib.util, shutil, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location('toys', {toys!r})
spec.loader.exec_module(importlib.util.module_from_spec(spec))

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmtrtvit.engine.distributed import leave_processes
from mmtrtvit.engine.runner import train

def run(work_dir, resume=None):
    config = Config.fromfile('two.py')
    config.update(work_dir=work_dir, launcher='pytorch', experiment_name=work_dir)
    train(config, resume)

run('whole')
if is_main_process():
    Path('later').mkdir()
    shutil.copy('whole/iter_6.pth', 'later')
barrier()
run('later', 'auto')
leave_processes()
"""


def test_two_processes_go_on_bit_for_bit_and_one_is_refused(streamed):
    config = streamed('two')
    config.train_dataloader.batch_size = 1
    config.dump('two.py')
    Path('two_runs.py').write_text(TWO.format(toys=str(Path(__file__).with_name('conftest.py'))))
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    subprocess.run(
        [
            sys.executable,
            *('-m', 'torch.distributed.run', '--nproc_per_node', '2'),
            *('--master_port', str(port), 'two_runs.py'),
        ],
        check=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        timeout=300,
    )
    assert_same('later/iter_24.pth', 'whole/iter_24.pth')
    with pytest.raises(UserError, match=r'2 process\(es\), 1 images .* this one has 1 process\(es'):
        train(streamed('whole'), resume='auto')
