"""The largest batch that fits: with a stand-in for a full GPU, and measured on this CPU."""

import pytest
import torch

from mmtrtvit.analysis import batch_size
from mmtrtvit.analysis.batch_size import (
    extrapolated_batch,
    free_memory,
    largest_batch,
    use_batch,
)
from mmtrtvit.engine.config import read_config
from mmtrtvit.errors import UserError


def full_above(most, tried):
    def step(batch):
        tried.append(batch)
        if batch > most:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')

    return step


@pytest.mark.parametrize(
    'fitting, most, batch',
    [(37, 1000, 33), (1, 1000, 1), (2, 1000, 1), (0, 1000, 0), (64, 20, 20), (64, 1, 1)],
)
def test_doubling_and_bisecting(fitting, most, batch):
    tried = []
    found = largest_batch(full_above(fitting, tried), most)
    assert found.batch == batch and max(tried) <= min(most, 2 * fitting + 2)
    assert len({*tried}) <= 12 and len(found.lines) >= len({*tried})


def test_other_errors_are_not_taken_for_a_full_memory():
    def step(batch):
        raise RuntimeError('a bug')

    with pytest.raises(RuntimeError, match='a bug'):
        largest_batch(step, 8)


def test_what_two_batches_take(monkeypatch):
    monkeypatch.setattr(batch_size, 'free_memory', lambda: 10 << 30)
    held = []
    monkeypatch.setattr(batch_size, 'peak_memory', lambda step: step() or held[-1])

    def step(batch):
        held.append((200 + 100 * batch) << 20)  # 200 MB, and 100 MB for each image

    found = extrapolated_batch(step, 1000)
    assert found.batch == 59 and '0.098 GB' in found.lines[-1]  # of 6 GB
    assert extrapolated_batch(step, 12).batch == 12
    monkeypatch.setattr(batch_size, 'free_memory', lambda: 100 << 20)
    assert not extrapolated_batch(step, 12).batch


def test_the_limit_of_a_container_counts(monkeypatch, tmp_path):
    before = free_memory()
    assert before > 0
    for name, text in (('max', '5000'), ('current', '3000'), ('stat', 'anon 1\ninactive_file 500')):
        (tmp_path / f'memory.{name}').write_text(text)
    monkeypatch.setattr(batch_size, 'GROUP', tmp_path)
    assert free_memory() == 2500
    (tmp_path / 'memory.max').write_text('max\n')
    assert free_memory() > 2500


@pytest.mark.parametrize('name', ['retinanet', 'fpn', 'classifier'])
def test_a_training_on_this_cpu(small_models, monkeypatch, name):
    monkeypatch.chdir(small_models)
    config = read_config(f'{name}.py')
    config.train_dataloader.dataset = dict(
        type='RepeatDataset', times=20, dataset=config.train_dataloader.dataset
    )
    lines = use_batch(config, 'auto')
    assert config.train_dataloader.batch_size >= 2
    assert lines[-1] == (
        f'batch size {config.train_dataloader.batch_size}, in train_dataloader.batch_size'
    )
    assert lines[0].startswith('batch 2 takes ')


def test_a_number_and_what_cannot_be_set(small_models, monkeypatch):
    monkeypatch.chdir(small_models)
    config = read_config('retinanet.py')
    assert use_batch(config, 3) == [] and config.train_dataloader.batch_size == 3
    config.launcher = 'pytorch'
    with pytest.raises(UserError, match='without --launcher'):
        use_batch(config, 'auto')
    config.launcher = 'none'
    monkeypatch.setattr(batch_size, 'get_device', lambda: 'mps')
    with pytest.raises(UserError, match='this device is mps. Give a number'):
        use_batch(config, 'auto')
    del config.train_dataloader['batch_size']
    with pytest.raises(UserError, match='no train_dataloader.batch_size to set'):
        use_batch(config, 3)
