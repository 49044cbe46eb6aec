"""Runs that were made faster against runs that were not."""

import shutil

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.testing import assert_close

from mmtrtvit.engine.runner import build_runner, train
from mmtrtvit.engine.speed import SpeedHook
from mmtrtvit.errors import UserError
from mmtrtvit.weights.checkpoints import read_weights


def weights(toy, work_dir, **speed):
    config = toy(work_dir)
    config.default_hooks['speed'] = dict(type='SpeedHook', **speed)
    found = read_weights(train(config).checkpoint)['state_dict']
    # The bias in front of a BatchNorm has no gradient but for rounding, which AdamW magnifies.
    return {
        name: value
        for name, value in found.items()
        if name not in ('conv.bias', 'norm.running_mean')
    }


def test_channels_last_trains_the_same(toy):
    plain = weights(toy, 'plain')
    faster = weights(toy, 'faster', channels_last=True)
    assert faster['conv.weight'].is_contiguous(memory_format=torch.channels_last)
    assert not plain['conv.weight'].is_contiguous(memory_format=torch.channels_last)
    assert_close(faster, plain, rtol=1e-4, atol=1e-5)


def test_freed_memory_is_kept_on_the_cpu(toy, monkeypatch):
    calls = []
    monkeypatch.setattr('mmtrtvit.engine.speed.keep_freed', lambda: calls.append(1))
    runner = build_runner(toy('run'))
    SpeedHook().before_run(runner)
    assert calls
    runner.model.to('meta')
    SpeedHook().before_run(runner)
    assert len(calls) == 1


@pytest.mark.parametrize('channels_last', [False, True])
def test_images_come_in_the_format_of_the_weights(toy, channels_last):
    runner = build_runner(toy())
    SpeedHook(channels_last).before_run(runner)
    model, seen = runner.model.eval(), []
    model.conv.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    images, labels = torch.randn(2, 3, 8, 9), torch.tensor([0, 1])
    outputs = model(images, labels), model(inputs=images, label=labels, mode='tensor')
    assert_close(outputs[0], outputs[1])
    for each in seen:
        assert torch.equal(each, images)
        assert each.is_contiguous(memory_format=torch.channels_last) is channels_last


@pytest.mark.skipif(not shutil.which('g++'), reason='torch.compile needs a compiler on the CPU')
def test_compiled_parts_train_the_same(toy):
    pytest.importorskip('torch', minversion='2.6')
    assert_close(
        weights(toy, 'faster', compile='conv'), weights(toy, 'plain'), rtol=1e-4, atol=1e-5
    )


def test_only_the_named_parts_are_compiled(toy, monkeypatch):
    pytest.importorskip('torch', minversion='2.14')  # does not compile a single layer before
    backend = CompileCounterWithBackend('eager')
    compile = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module,
        'compile',
        lambda self, **options: compile(self, backend=backend, **options),
    )
    runner = build_runner(toy())
    SpeedHook(compile=('conv', 'norm')).before_run(runner)
    model = runner.model.eval()
    for side in (8, 9, 12):
        model(torch.randn(2, 3, side, side), torch.tensor([0, 1]))
    assert backend.frame_count == 2  # one graph for each part, for every size


def test_a_part_that_is_not_there(toy):
    pytest.importorskip('torch', minversion='2.6')
    config = toy()
    config.default_hooks['speed'] = dict(type='SpeedHook', compile=['backbone'])
    with pytest.raises(UserError, match="has no part 'backbone'; it has .*conv, norm"):
        train(config)
