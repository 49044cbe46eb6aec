"""BatchNorm of maps whose channels fill no whole vectors, against PyTorch's in double precision."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mmtrtvit.models import batch_norm as module
from mmtrtvit.models.batch_norm import VECTOR, BatchNorm2d
from mmtrtvit.models.efficientvit import EfficientViT


@pytest.fixture
def rows(monkeypatch):
    """How many maps were taken as rows; small ones are too."""
    monkeypatch.setattr(module, 'LARGE', 0)
    forward, calls = module._Normalise.forward, []

    def counted(ctx, x, *others):
        calls.append(x.shape)
        return forward(ctx, x, *others)

    monkeypatch.setattr(module._Normalise, 'forward', staticmethod(counted))
    return calls


def make(channels, **settings):
    torch.manual_seed(0)
    norm = BatchNorm2d(channels, **settings)
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, channels, 12, 20) * 3 + 5
    return norm, x.to(memory_format=torch.channels_last)


def plain(norm, **settings):
    """PyTorch's layer with the same state."""
    twin = nn.BatchNorm2d(norm.num_features, **settings)
    twin.load_state_dict(norm.state_dict())
    return twin


def step(norm, x, dtype):
    """Output, running statistics and gradients, behind a ReLU in place as in ConvNorm."""
    norm.to(dtype)
    x = x.detach().to(dtype).requires_grad_()
    y = norm(x).relu_()
    y.backward(torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y))
    return [y.detach(), x.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()]


@pytest.mark.parametrize(
    'settings', [{}, dict(momentum=0.3, eps=0.1), dict(momentum=0.0), dict(momentum=None)], ids=str
)
@pytest.mark.parametrize('channels', [1, 8, 24, 60])
def test_training_equals_double_precision(rows, channels, settings):
    norm, x = make(channels, **settings)
    twin = plain(norm, **settings)
    for _ in range(2):
        for got, expected in zip(step(norm, x, torch.float), step(twin, x, torch.double)):
            assert got.is_contiguous(memory_format=torch.channels_last) or got.dim() < 4
            assert_close(got, expected.to(got.dtype), atol=1e-5, rtol=1e-5)
    assert len(rows) == 2


@pytest.mark.parametrize(
    'change', ['eval', 'contiguous', 'double', 'odd', 'full', 'plain', 'untracked', 'small']
)
def test_all_else_is_pytorch(rows, change, monkeypatch):
    settings = dict(plain=dict(affine=False), untracked=dict(track_running_stats=False))
    settings = settings.get(change, {})
    norm, x = make(VECTOR if change == 'full' else 8, **settings)
    if change == 'contiguous':
        x = x.contiguous()
    elif change == 'double':
        norm, x = norm.double(), x.double()
    elif change == 'odd':
        x = x[:, :, :, :-1].contiguous(memory_format=torch.channels_last)
    elif change == 'small':
        monkeypatch.setattr(module, 'LARGE', x.numel() + 1)
    norm.train(change != 'eval')
    twin = plain(norm, **settings).to(x.dtype).train(norm.training)
    assert_close(norm(x), twin(x), rtol=0, atol=0)
    assert_close(norm.state_dict(), twin.state_dict(), rtol=0, atol=0)
    assert rows == []


def test_autocast_is_pytorch(rows):
    norm, x = make(8)
    twin = plain(norm)
    with torch.autocast('cpu', torch.bfloat16):
        assert_close(norm(x.bfloat16()), twin(x.bfloat16()), rtol=0, atol=0)
    assert rows == []


def test_gradient_in_another_memory_format(rows):
    norm, x = make(8)
    twin = copy.deepcopy(norm)
    inputs = x.clone().requires_grad_(), x.clone().requires_grad_()
    gradient = torch.randn_like(x)
    norm(inputs[0]).backward(gradient)
    twin(inputs[1]).backward(gradient.contiguous())
    assert_close(inputs[0].grad, inputs[1].grad)
    assert len(rows) == 2


def test_becomes_a_synchronised_norm():
    norm = nn.SyncBatchNorm.convert_sync_batchnorm(BatchNorm2d(8))
    assert type(norm) is nn.SyncBatchNorm


@pytest.mark.parametrize('with_cp', [False, True])
def test_backbone_in_training(rows, with_cp):
    torch.manual_seed(0)
    model = EfficientViT('m0', with_cp=with_cp).to(memory_format=torch.channels_last).train()
    twin = copy.deepcopy(model).double()
    x = torch.randn(2, 3, 64, 96)
    for maps, expected in zip(model(x), twin(x.double())):
        assert_close(maps, expected.float(), atol=1e-4, rtol=1e-4)
    assert (2, 8, 32, 48) in rows
    assert_close(
        model.state_dict(),
        {
            name: value.to(model.state_dict()[name].dtype)
            for name, value in twin.state_dict().items()
        },
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_the_gradient_of_one_window_is_right(training, dtype):
    """Its tokens have been transposed: pixel by pixel, with the batch stride of a pixel."""
    torch.manual_seed(0)
    norm = BatchNorm2d(40).to(dtype).train(training)
    x = torch.randn(1, 40, 7, 7, dtype=dtype, requires_grad=True)
    tokens = torch.randn(1, 49, 40, dtype=dtype)
    grad = tokens.transpose(1, 2).unflatten(2, (7, 7))
    inputs = x, norm.weight, norm.bias
    found = torch.autograd.grad(norm(x), inputs, grad)
    for ours, expected in zip(found, torch.autograd.grad(norm(x), inputs, grad.contiguous())):
        assert_close(ours, expected)
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    if not training:
        assert_close(found[0], grad * scale.detach().view(1, -1, 1, 1))


def test_one_image_has_the_gradients_of_two():
    torch.manual_seed(0)
    model = EfficientViT('m0').eval()
    for name, parameter in model.named_parameters():
        if 'norm.weight' in name:  # those of residuals are zero
            nn.init.uniform_(parameter, 0.3, 1)
    x = torch.randn(1, 3, 64, 64)
    found = []
    for count in (1, 2):
        maps = model(x.repeat(count, 1, 1, 1))
        loss = sum(
            (each * torch.linspace(-1, 1, each[0].numel()).view_as(each[:1])).sum() for each in maps
        )
        (loss / count).backward()
        found.append({name: each.grad.clone() for name, each in model.named_parameters()})
        model.zero_grad()
    one, two = found
    for name, expected in two.items():
        assert_close(one[name], expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
