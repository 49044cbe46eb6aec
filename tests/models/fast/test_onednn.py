"""Convolutions and linear layers through oneDNN, against PyTorch's own."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from mmtrtvit.models.fast import layers as fast_layers
from mmtrtvit.models.fast import onednn as onednn_layers
from mmtrtvit.models.fast.layers import FastConv, FastLinear, FastStem, replace_linear

onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason='PyTorch was built without oneDNN'
)


@pytest.fixture(autouse=True)
def no_small_products(monkeypatch):
    """Products of any size go to oneDNN."""
    monkeypatch.setattr(onednn_layers, 'SMALL_PRODUCT', 0)
    monkeypatch.setattr(onednn_layers, 'SMALL_WEIGHT', 0)


class Calls(TorchDispatchMode):
    """Notes the operators that are called."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self.names = []
        return super().__enter__()

    @property
    def packings(self):
        return sum('reorder' in name for name in self.names)

    @property
    def onednn(self):
        return any(name.startswith('mkldnn.') for name in self.names)


CONVS = [
    dict(kernel_size=1),
    dict(kernel_size=1, stride=2),
    dict(kernel_size=3, padding=1),
    dict(kernel_size=1, padding=1),
    dict(kernel_size=1, groups=2),
    dict(kernel_size=3, padding=1, stride=2, bias=False),
    dict(kernel_size=5, padding=2, groups=8),
    dict(kernel_size=3, dilation=2, padding=2),
]


@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize('settings', CONVS, ids=str)
@torch.no_grad()
def test_convolutions(settings, layout, relu):
    conv = nn.Conv2d(8, 16, **settings)
    fast = FastConv(conv, relu).to(memory_format=layout)
    x = torch.randn(2, 8, 9, 11).to(memory_format=layout)
    plain = conv(x)
    expected = plain, plain + 1
    if relu:
        expected = [each.relu() for each in expected]
    before = x.clone()
    found = fast(x), fast(x, torch.ones_like(plain))
    assert_close(found, tuple(expected), rtol=1e-5, atol=1e-5)
    assert torch.equal(x, before)


@pytest.mark.parametrize('shape', [(5, 12), (0, 12), (2, 3, 12), (2, 3, 4, 12)], ids=str)
@pytest.mark.parametrize('bias', [False, True])
@torch.no_grad()
def test_linear_layers(shape, bias):
    layer = nn.Linear(12, 7, bias=bias)
    x = torch.randn(shape)
    expected = layer(x)
    assert_close(FastLinear(layer)(x), expected, rtol=1e-5, atol=1e-5)
    across = x.transpose(0, -1).contiguous().transpose(0, -1)
    assert_close(FastLinear(layer)(across), expected, rtol=1e-5, atol=1e-5)


@onednn
@pytest.mark.parametrize(
    'layer, x',
    [
        (FastConv(nn.Conv2d(3, 4, 3)), torch.ones(1, 3, 8, 8)),
        (FastConv(nn.Conv2d(3, 4, 1)), torch.ones(1, 3, 8, 8)),
        (FastLinear(nn.Linear(3, 4)), torch.ones(8, 3)),
    ],
    ids=['conv', 'pointwise', 'linear'],
)
def test_where_onednn_is_called(layer, x):
    layer.requires_grad_(False)

    def calls(x):
        with Calls() as found:
            layer(x)
        return found.onednn

    assert calls(x)
    assert not calls(x.clone().requires_grad_())
    with torch.backends.mkldnn.flags(enabled=False):
        assert not calls(x)
    with torch.autocast('cpu', torch.bfloat16):
        assert not calls(x)
        assert layer(x).dtype == torch.bfloat16


@onednn
@pytest.mark.skipif(not onednn_layers._takes_bf16(), reason='oneDNN has no bf16 here')
@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize('side, groups', [(1, 1), (3, 1), (3, 8)])
@torch.no_grad()
def test_bf16_is_onednns_too(relu, side, groups, monkeypatch):
    monkeypatch.setattr(onednn_layers, 'SMALL_PRODUCT', 0)
    conv = nn.Conv2d(8, 8, side, padding=side // 2, groups=groups)
    x, other = torch.randn(2, 1, 8, 9, 10).bfloat16().float()
    conv.weight.data = conv.weight.bfloat16().float()
    expected = conv(x) + other
    with Calls() as found:
        y = FastConv(conv, relu).bfloat16()(x.bfloat16(), other.bfloat16())
    assert found.onednn and y.dtype == torch.bfloat16
    assert_close(y.float(), expected.relu() if relu else expected, rtol=0.01, atol=0.03)


@onednn
@pytest.mark.parametrize('relu', [False, True])
@torch.no_grad()
def test_small_products_are_pytorchs(relu, monkeypatch):
    conv = nn.Conv2d(8, 4, 1)
    fast, x = FastConv(conv, relu), torch.randn(1, 8, 5, 6)
    expected = conv(x) + 1
    for limit, is_onednn in ((30 * 32, True), (30 * 32 + 1, False)):
        monkeypatch.setattr(onednn_layers, 'SMALL_PRODUCT', limit)
        with Calls() as found:
            y = fast(x, torch.ones_like(expected))
        assert found.onednn == is_onednn
        assert_close(y, expected.relu() if relu else expected, rtol=1e-5, atol=1e-5)


LAYERS = {
    'depthwise': lambda: FastConv(nn.Conv2d(8, 8, 3, groups=8)),
    'pointwise': lambda: FastConv(nn.Conv2d(8, 8, 1)),
    'linear': lambda: FastLinear(nn.Linear(8, 8)),
}


@pytest.fixture(params=LAYERS)
def build(request):
    return LAYERS[request.param]


@pytest.fixture
def x():
    return torch.randn(2, 8, 9, 8)


def assert_current(layer, x):
    with torch.backends.mkldnn.flags(enabled=False):
        expected = layer(x)
    assert_close(layer(x), expected, rtol=1e-5, atol=1e-4)


@onednn
@torch.no_grad()
def test_weights_are_put_in_order_once(build, x):
    layer, dense = build(), FastConv(nn.Conv2d(8, 8, 3))
    with Calls() as first:
        layer(x)
    with Calls() as later:
        layer(x)
        layer(x[:1])
        layer(x[:0])
        dense(x)
    assert layer.packed.get(layer.weight, None).layout == torch._mkldnn
    layer.weight.add_(1)
    with Calls() as changed:
        layer(x)
    assert [calls.packings for calls in (first, later, changed)] == [1, 0, 1]


@onednn
@torch.no_grad()
def test_weights_in_order_follow_every_change(build, x):
    layer, other = build().requires_grad_(False), build().requires_grad_(False)
    layer(x[:0])
    layer(x)
    layer.load_state_dict(other.state_dict())
    assert_current(layer, x)
    assert_close(layer(x), other(x))
    layer.weight[0] = 3
    assert_current(layer, x)
    layer.half().float()
    assert_current(layer, x)
    for _ in range(2):  # the second is likely to be where the one in use was
        layer.weight.data = torch.rand_like(layer.weight)
    assert_current(layer, x)
    layer.weight = nn.Parameter(torch.full_like(layer.weight, 2.0), False)
    assert_current(layer, x)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert again.state_dict().keys() == layer.state_dict().keys()
        again.weight.mul_(2)
        assert_current(again, x)
        assert_current(layer, x)


@onednn
def test_layers_made_in_inference_mode(build, x):
    with torch.inference_mode():
        layer = build().requires_grad_(False)
        for _ in range(2):
            assert_current(layer, x)
            layer.weight.add_(1)
    with torch.no_grad():
        assert_current(layer, x)


@onednn
def test_layers_first_used_in_inference_mode(build, x):
    layer = build().requires_grad_(False)
    with torch.inference_mode():
        expected = layer(x)
    assert_close(layer(x), expected)


@onednn
def test_every_precision_and_gradients():
    layer = nn.Linear(3, 4)
    fast, x = FastLinear(copy.deepcopy(layer)).double(), torch.randn(5, 3, dtype=torch.double)
    assert_close(fast(x), layer.double()(x))
    x = torch.randn(5, 3, requires_grad=True)
    FastLinear(layer.float()).requires_grad_(False)(x).sum().backward()
    assert_close(x.grad, layer.weight.sum(dim=0).expand(5, 3))


@onednn
def test_graphs_have_pytorchs_operators():
    model = nn.Sequential(FastConv(nn.Conv2d(3, 4, 1), relu=True), FastConv(nn.Conv2d(4, 4, 3)))
    model.requires_grad_(False)
    x = torch.randn(1, 3, 8, 8)
    graphs = torch.jit.trace(model, x).inlined_graph, torch.export.export(model, (x,)).graph
    for graph in map(str, graphs):
        assert 'conv' in graph and 'mkldnn' not in graph and 'mmtrtvit::' not in graph
        assert 'ops.mmtrtvit' not in graph and 'mmtrtvit.convolution' not in graph


def compiled(layer, dynamic=None):
    """A layer in one graph of ``torch.compile``, and the graphs that were recorded."""
    torch._dynamo.reset()
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph.code)
        return graph

    return torch.compile(layer, backend=keep, fullgraph=True, dynamic=dynamic), graphs


in_graphs = pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_exporting'),
    reason='this PyTorch does not tell torch.compile from torch.export',
)


@onednn
@in_graphs
@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize('settings', CONVS, ids=str)
@torch.no_grad()
def test_compiled_convolutions(settings, relu):
    fast = FastConv(nn.Conv2d(8, 16, **settings), relu).to(memory_format=torch.channels_last)
    layer, graphs = compiled(fast)
    x = torch.randn(2, 8, 9, 11).to(memory_format=torch.channels_last)
    other = torch.randn_like(fast(x))
    for given in ((x,), (x, other)):
        assert_close(layer(*given), fast(*given), rtol=0, atol=0)
    assert graphs and all(code.count('torch.ops.mmtrtvit.') == 1 for code in graphs)


@onednn
@in_graphs
@pytest.mark.skipif(not onednn_layers._takes_bf16(), reason='oneDNN has no bf16 here')
@torch.no_grad()
def test_compiled_bf16():
    plain = nn.Sequential(FastConv(nn.Conv2d(8, 8, 3), relu=True), FastConv(nn.Conv2d(8, 8, 1)))
    plain = plain.bfloat16().to(memory_format=torch.channels_last)
    layer, graphs = compiled(plain)
    x = torch.randn(2, 8, 9, 11).bfloat16().to(memory_format=torch.channels_last)
    assert_close(layer(x), plain(x), rtol=0, atol=0)
    assert graphs[0].count('torch.ops.mmtrtvit.') == 2


@onednn
@in_graphs
@torch.no_grad()
def test_compiled_weights_are_put_in_order_once(build, x):
    plain = build()
    layer, graphs = compiled(plain)
    layer(x)
    packed = onednn_layers._of_weights[plain.weight]
    made = packed.get(plain.weight, None)
    assert made.layout == torch._mkldnn
    layer(x)
    assert onednn_layers._of_weights[plain.weight] is packed
    assert packed.get(plain.weight, None) is made
    plain.weight.add_(1)
    assert_close(layer(x), plain(x))
    assert len(graphs) == 1 and 'torch.ops.mmtrtvit.' in graphs[0]


@onednn
@in_graphs
@torch.no_grad()
@pytest.mark.parametrize('limit, is_onednn', [(64, True), (65, False)])
def test_small_weights_in_graphs_are_pytorchs(limit, is_onednn, monkeypatch):
    monkeypatch.setattr(onednn_layers, 'SMALL_WEIGHT', limit)
    plain = FastLinear(nn.Linear(8, 8))
    layer, graphs = compiled(plain)
    assert_close(layer(torch.ones(3, 8)), plain(torch.ones(3, 8)))
    assert ('torch.ops.mmtrtvit.product' in graphs[0]) == is_onednn


@onednn
@in_graphs
@torch.no_grad()
def test_one_graph_holds_for_products_of_every_size(monkeypatch):
    monkeypatch.setattr(onednn_layers, 'SMALL_PRODUCT', 64 * 30)
    plain = FastConv(nn.Conv2d(8, 8, 1))
    layer, graphs = compiled(plain, dynamic=True)
    for side in (3, 5, 6, 7):
        x = torch.randn(1, 8, side, 2 * side)
        assert_close(layer(x), plain(x))
    assert len(graphs) == 1


@onednn
@torch.no_grad()
def test_the_operators_are_described_rightly():
    x, other = (torch.randn(2, 8, 5, 6).to(memory_format=torch.channels_last) for _ in range(2))
    dense, wide = torch.randn(8, 8, 3, 3), torch.randn(8, 1, 3, 3)
    tokens = x.permute(0, 2, 3, 1)
    ops, settings = torch.ops.mmtrtvit, ([1, 1], [1, 1], [1, 1])
    for op, args in (
        (ops.convolution, (x.contiguous(), dense, None, None, *settings, 1, False)),
        (ops.product, (tokens.transpose(1, 2), torch.randn(8, 8), None, None, False)),
        (ops.convolution, (x, dense, torch.randn(8), other, *settings, 1, True)),
        (ops.convolution, (x, wide, None, None, [0, 0], [2, 2], [1, 1], 8, False)),
        (ops.product, (tokens, torch.randn(4, 8), None, None, True)),
        (ops.product, (tokens, torch.randn(8, 8, 1, 1), torch.randn(8), tokens, False)),
    ):
        torch.library.opcheck(op, args, test_utils=('test_schema', 'test_faketensor'))


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_only_plain_linear_layers_are_replaced():
    hooked = nn.Linear(3, 3)
    hooked.register_forward_hook(lambda module, args, output: output * 2)
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(Doubled(3, 3), nn.Linear(3, 3)), hooked)
    x = torch.randn(2, 3)
    with torch.no_grad():
        expected, before = model(x), model.state_dict()
        replace_linear(model)
        assert_close(model(x), expected)
    kinds = [type(module) for module in (model[0], *model[1], model[2])]
    assert kinds == [FastLinear, Doubled, FastLinear, nn.Linear]
    assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize('strides', [(2, 2, 2, 2), (2, 1, 2)], ids=str)
@pytest.mark.parametrize(
    'size', [(3, 32, 47), (1, 64, 32), (2, 65, 40), (1, 161, 33), (2, 200, 64)], ids=str
)
@torch.no_grad()
def test_stems_in_strips(strides, size, layout, monkeypatch):
    monkeypatch.setattr(fast_layers, 'STRIP_PIXELS', 32 * size[2])
    convs = [
        nn.Conv2d(width, 8, 3, stride, 1)
        for width, stride in zip((3, 8, 8, 8), strides, strict=False)
    ]
    stem = FastStem(*(FastConv(conv, relu=True) for conv in convs))
    batch, height, width = size
    x = torch.randn(batch, 3, height, width).to(memory_format=layout)
    expected = x
    for conv in convs:
        expected = conv(expected).relu()
    assert_close(stem(x), expected, rtol=1e-5, atol=1e-5)


@onednn
@pytest.mark.parametrize(
    'stride, size, strips',
    [
        (2, (1, 32, 48), 1),
        (2, (1, 33, 48), 2),
        (2, (2, 96, 48), 6),
        (2, (1, 32, 96), 2),
        (1, (1, 96, 48), 1),
    ],
)
@torch.no_grad()
def test_number_of_strips(stride, size, strips, monkeypatch):
    monkeypatch.setattr(fast_layers, 'STRIP_PIXELS', 32 * 48)
    stem = FastStem(FastConv(nn.Conv2d(3, 8, 3, stride, 1)))
    batch, height, width = size
    with Calls() as found:
        stem(torch.randn(batch, 3, height, width))
    assert sum('_convolution_pointwise' in name for name in found.names) == strips
