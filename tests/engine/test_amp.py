"""Mixed precision of trainings."""

import pytest
import torch
from mmengine.config import Config

from mmtrtvit.engine import amp
from mmtrtvit.engine.amp import use_amp
from mmtrtvit.engine.runner import build_runner, train
from mmtrtvit.errors import UserError
from mmtrtvit.weights.checkpoints import read_weights


@pytest.fixture
def processor(monkeypatch):
    def set(device='cpu', has_bf16=True):
        monkeypatch.setattr(amp, 'get_device', lambda: device)
        monkeypatch.setattr(amp, 'has_bf16', lambda: has_bf16)

    set()
    return set


def test_a_cpu_trains_in_bfloat16(toy, processor):
    config = toy('mixed')
    assert use_amp(config) == ''
    runner = build_runner(config)
    seen = []
    runner.model.conv.register_forward_hook(lambda module, args, y: seen.append(y.dtype))
    images, labels = torch.randn(2, 3, 8, 9), torch.tensor([0, 1])
    optimiser = runner.build_optim_wrapper(runner.optim_wrapper)
    with optimiser.optim_context(runner.model):
        runner.model(images, labels)
    runner.model(images, labels)
    assert seen == [torch.bfloat16, torch.float32]
    assert {x.dtype for x in runner.model.parameters()} == {torch.float32}


def test_its_weights_are_close_to_those_of_float32(toy, processor):
    config = toy('mixed')
    use_amp(config)
    found = [read_weights(train(each).checkpoint)['state_dict'] for each in (config, toy('plain'))]
    mixed, plain = (state['conv.weight'] for state in found)
    assert not torch.equal(mixed, plain)
    assert (mixed - plain).norm() < 0.1 * plain.norm()


def test_a_cpu_without_it_stays_in_float32(toy, processor):
    processor(has_bf16=False)
    config = toy()
    before = config.optim_wrapper.copy()
    assert 'no instructions for bfloat16' in use_amp(config)
    assert config.optim_wrapper == before


def test_a_gpu_scales_its_losses(processor):
    processor('cuda')
    config = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    assert use_amp(config) == ''
    assert config.optim_wrapper == dict(type='AmpOptimWrapper', loss_scale='dynamic')


@pytest.mark.parametrize(
    'device, kind, part',
    [('mps', 'OptimWrapper', 'not for mps'), ('cpu', 'Own', 'optim_wrapper.type is Own')],
)
def test_what_cannot_be_mixed(processor, device, kind, part):
    processor(device)
    with pytest.raises(UserError, match=part):
        use_amp(Config(dict(optim_wrapper=dict(type=kind))))
