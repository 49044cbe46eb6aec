"""AGCHook: what is clipped, and what it refuses."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmtrtvit.classification.agc import AGCHook
from mmtrtvit.errors import UserError


def runner(**options):
    model = nn.Sequential()
    model.body, model.head = nn.Linear(3, 2), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, **options)
    return SimpleNamespace(model=model, optim_wrapper=SimpleNamespace(optimizer=optimizer))


def test_each_unit_is_clipped_to_a_share_of_its_norm():
    torch.manual_seed(0)
    training = runner()
    AGCHook(0.1, exclude='head').before_train(training)
    body, head = training.model.body.weight, training.model.head.weight
    gradient = torch.tensor([[0.0, 3.0, 4.0], [1e-3, 0.0, 0.0]])
    before = body.detach().clone(), head.detach().clone()
    body.grad, head.grad = gradient.clone(), torch.full((2, 2), 9.0)
    training.optim_wrapper.optimizer.step()
    most = 0.1 * before[0][0].norm()
    assert torch.allclose(body[0], before[0][0] - gradient[0] / 5 * most)
    assert torch.allclose(body[1], before[0][1] - gradient[1])  # small enough
    assert torch.allclose(head, before[1] - 9)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(clip_factor=0), 'clip_factor=0'),
        (dict(exclude=('neck',)), 'names neck, .* body, head'),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        AGCHook(**options).before_train(runner())


def test_a_fused_optimiser_in_mixed_precision_is_refused():
    training = runner()
    AGCHook().before_train(training)
    training.optim_wrapper.optimizer.grad_scale = torch.ones(())
    with pytest.raises(UserError, match='fused=False'):
        training.optim_wrapper.optimizer.step()


def test_a_missing_timm_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mmtrtvit\[pretrain\]'"):
        AGCHook()
