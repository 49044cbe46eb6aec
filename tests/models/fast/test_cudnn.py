"""Convolutions and attention in half precision on a GPU; without one, what can be had of them."""

import copy
import io
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d
from torch.testing import assert_close

from mmtrtvit.models import EfficientViT, TRTViT, fuse
from mmtrtvit.models.fast import cudnn, triton_attention
from mmtrtvit.models.fast.efficientvit import FastWindowAttention
from mmtrtvit.models.fast.layers import FastConv

HALVES = {torch.float16: 0.01, torch.bfloat16: 0.06}  # and how far outputs may be apart
CONVS = [
    dict(kernel_size=1),
    dict(kernel_size=1, bias=False),
    dict(kernel_size=1, stride=2),
    dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=5, padding=2, groups=8),
    dict(kernel_size=3, dilation=2, padding=(2, 1)),
]


def assert_near(outputs, expected, tolerance):
    for one, other in zip(outputs, expected, strict=True):
        assert one.shape == other.shape
        assert (one.float() - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize('settings', CONVS, ids=str)
@torch.no_grad()
def test_what_is_asked_of_the_libraries(settings, relu, monkeypatch):
    """PyTorch's convolution stands in for cuDNN's operators, which take the same arguments."""
    monkeypatch.setattr(
        torch,
        'cudnn_convolution_relu',
        lambda x, weight, bias, *settings: conv2d(x, weight, bias, *settings).relu(),
    )
    monkeypatch.setattr(
        torch,
        'cudnn_convolution_add_relu',
        lambda x, weight, z, alpha, bias, *settings: (
            conv2d(x, weight, bias, *settings) + alpha * z
        ).relu(),
    )
    conv = nn.Conv2d(8, 16, **settings)
    fast, x = FastConv(conv, relu), torch.randn(2, 8, 9, 11)
    expected = conv(x)
    for other in (None, torch.randn_like(expected)):
        sum_ = expected if other is None else expected + other
        assert_close(
            cudnn.convolution(fast, x, other), sum_.relu() if relu else sum_, rtol=1e-5, atol=1e-5
        )


@pytest.fixture
def nvidia(monkeypatch):
    """Lets PyTorch say that there is an H100."""
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.backends.cudnn, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    monkeypatch.setattr(triton_attention, '_starts', lambda device: True)
    return monkeypatch


def test_what_is_computed_in_half_precision(nvidia):
    pytest.importorskip('triton', minversion='3.2')
    half = torch.ones(1, dtype=torch.float16)
    x = SimpleNamespace(
        is_cuda=True, dtype=torch.float16, requires_grad=False, device=torch.device('cuda')
    )

    def found(weight=half, window_size=7, **changes):
        changed = SimpleNamespace(**vars(x) | changes)
        return (cudnn.takes(changed, weight), triton_attention.takes(changed, weight, window_size))

    assert found() == (True, True)
    assert found(half.bfloat16(), dtype=torch.bfloat16) == (True, True)
    assert found(window_size=9) == (True, False)  # too many tokens for one program
    for changes in (
        dict(is_cuda=False),
        dict(dtype=torch.float32),
        dict(dtype=torch.bfloat16),
        dict(requires_grad=True),
        dict(weight=half.float()),
    ):
        assert found(**changes) == (False, False)
    with nvidia.context() as context:
        context.setattr(torch.cuda, 'get_device_capability', lambda device: (7, 5))
        assert found() == (True, False)
    for name, value in (('triton', None), ('_starts', lambda device: False)):
        with nvidia.context() as context:
            context.setattr(triton_attention, name, value)
            assert found() == (True, False)
    with torch.backends.cudnn.flags(enabled=False):
        assert found() == (False, False)
    with nvidia.context() as context:
        context.setattr(cudnn, 'is_traced', lambda: True)
        assert found() == (False, True)  # by torch.compile
        context.setattr(triton_attention, 'is_exported', lambda: True)
        assert found() == (False, False)
    nvidia.setattr(torch.version, 'cuda', None)  # an AMD GPU
    assert found() == (False, False)


def test_triton_does_not_start_kernels_without_what_it_needs():
    pytest.importorskip('triton', minversion='3.2')
    assert not triton_attention._starts(torch.device('cpu'))


@pytest.mark.parametrize('family', [TRTViT, EfficientViT])
@torch.no_grad()
def test_a_fused_copy_is_one_graph(family, randomise):
    """A library that is asked for outside of a graph would break it."""
    fused, x = fuse(randomise(family())), torch.randn(1, 3, 64, 96)
    compiled = torch.compile(fused, backend='eager', fullgraph=True)
    assert_near(compiled(x), fused(x), 1e-5)


INTERPRETED = """
import sys
import torch
from torch.testing import assert_close
from mmtrtvit.models.fast import triton_attention
from mmtrtvit.models.efficientvit import WindowAttention
from mmtrtvit.models.fast.efficientvit import FastWindowAttention

torch.manual_seed(0)
channels, window_size, *kernels = map(int, sys.argv[1:])
with torch.no_grad():
    block = WindowAttention(channels, kernels, window_size).eval()
    for name, value in [*block.named_parameters(), *block.named_buffers()]:
        if name.endswith(('running_var', 'norm.weight')):
            value.uniform_(.5, 1.5)
        elif name.endswith(('running_mean', 'norm.bias', 'bias_table')):
            value.normal_()
    assert triton_attention._starts(torch.device('cpu'))
    fast = FastWindowAttention(block)
    x = torch.randn(2, 8, 9, channels)
    expected = fast._head_by_head(x)
    assert_close(fast._by_one_kernel(x), expected, rtol=1e-5, atol=1e-5)

    x = x.permute(0, 3, 1, 2)
    expected_map = fast(x)
    triton_attention.cudnn.can_take = lambda x, weight: True
    triton_attention._is_possible = lambda device: True
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph.code)
        return graph

    for backend in (keep, 'aot_eager'):
        torch._dynamo.reset()
        compiled = torch.compile(fast, backend=backend, fullgraph=True)
        assert_close(compiled(x), expected_map, rtol=1e-5, atol=1e-5)
    assert all(code.count('mmtrtvit.window_attention') == 1 for code in graphs)
    exported = torch.export.export(fast, (x,)).graph_module.code
    assert 'window_attention' not in exported and 'bmm' in exported
print(expected.abs().max().item())
"""


@pytest.mark.parametrize(
    'channels, window_size, kernels',
    [
        (144, 7, (7, 5, 3)),  # heads of 48 channels are no power of 2
        (32, 4, (7, 3)),  # a kernel that is wider than the window
        (24, 5, (1,)),
    ],
    ids=str,
)
def test_the_kernel_computes_what_the_heads_do(channels, window_size, kernels, monkeypatch):
    """Triton's interpreter computes it with NumPy."""
    pytest.importorskip('triton', minversion='3.2')
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    run = subprocess.run(
        [sys.executable, '-c', INTERPRETED, *map(str, (channels, window_size, *kernels))],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) > 0.1


@pytest.mark.parametrize('dtype, capability', [('fp16', 90), ('bf16', 80)])
@pytest.mark.parametrize('width', [16, 48, 112])  # of the heads of M0 to M5
def test_the_kernel_is_compiled(width, dtype, capability, tmp_path, monkeypatch):
    """Triton's compiler needs no GPU; the smallest of these GPUs have 99 KB for a program."""
    pytest.importorskip('triton', minversion='3.2')
    from triton import compile, next_power_of_2
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    constants = dict(
        HEADS=4, WIDTH=width, WINDOW=7, SIDE=7, TOKENS=64, BLOCK=next_power_of_2(width), KEY=16
    )
    kernel = triton_attention._attend
    pointers = [*('x', 'out', 'queries'), *triton_attention.Weights._fields]
    types = {name: f'*{dtype}' for name in pointers} | dict(reaches='*i32')
    signature = {name: types.get(name, 'i32') for name in kernel.arg_names} | dict.fromkeys(
        constants, 'constexpr'
    )
    made = compile(
        ASTSource(kernel, signature, constants), target=GPUTarget('cuda', capability, 32)
    )
    assert made.asm['cubin'] and made.metadata.shared < 99 * 1024


# On a GPU


@pytest.fixture
def exact(monkeypatch):
    """Single precision without TF32."""
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        monkeypatch.setattr(backend, 'allow_tf32', False)


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', HALVES, ids=str)
@pytest.mark.parametrize(
    'family, arch',
    [(family, arch) for family in (TRTViT, EfficientViT) for arch in family.arch_settings],
    ids=lambda value: getattr(value, '__name__', value),
)
@torch.no_grad()
def test_every_variant_in_half_precision(family, arch, dtype, randomise, exact):
    model = randomise(family(arch)).eval().cuda()
    fused = fuse(model).to(dtype)
    for size in ((1, 3, 101, 203), (2, 3, 32, 32), (3, 3, 300, 401)):
        x = torch.randn(size, device='cuda')
        assert_near(fused(x.to(dtype)), model(x), HALVES[dtype])
        last = x.to(dtype, memory_format=torch.channels_last)
        assert_near(fused(last), model(x), HALVES[dtype])


@pytest.mark.gpu
@torch.no_grad()
def test_the_same_outputs_in_single_precision(randomise, exact):
    for family in (TRTViT, EfficientViT):
        model = randomise(family()).eval().cuda()
        x = torch.randn(2, 3, 101, 203, device='cuda')
        assert_near(fuse(model)(x), model(x), 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize('window_size', [4, 7, (7, 7, 4), 9])
@torch.no_grad()
def test_windows_of_any_size(window_size, randomise, exact):
    model = randomise(EfficientViT('m2', window_size=window_size)).eval().cuda()
    x = torch.randn(2, 3, 300, 401, device='cuda')
    assert_near(fuse(model).half()(x.half()), model(x), HALVES[torch.float16])


@pytest.mark.gpu
@torch.no_grad()
def test_the_kernel_follows_every_change(randomise, monkeypatch):
    first, second = (fuse(randomise(EfficientViT('m0'))).cuda() for _ in range(2))
    x = torch.randn(1, 3, 100, 200, device='cuda').half()
    calls = []
    attend = triton_attention.attend
    monkeypatch.setattr(
        triton_attention, 'attend', lambda *args: calls.append(args) or attend(*args)
    )
    expected = copy.deepcopy(second).half()(x)
    fused = copy.deepcopy(first).half()
    fused(x)
    fused.load_state_dict(second.state_dict())
    assert_near(fused(x), expected, 1e-6)
    stream = io.BytesIO()
    torch.save(fused, stream)
    stream.seek(0)
    assert_near(torch.load(stream, weights_only=False)(x), expected, 1e-6)
    on_cpu = fused.float().cpu()(x.float().cpu())
    assert_near(on_cpu, [each.float().cpu() for each in expected], 0.01)
    attentions = sum(isinstance(module, FastWindowAttention) for module in fused.modules())
    assert len(calls) == 4 * attentions


@pytest.mark.gpu
@torch.no_grad()
def test_as_a_cuda_graph(randomise):
    fused = fuse(randomise(EfficientViT('m2'))).cuda().half()
    x = torch.randn(1, 3, 224, 224, device='cuda').half()
    fused(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = fused(x)
    x.copy_(torch.randn_like(x))
    graph.replay()
    assert_near(outputs, [each.float() for each in fused(x)], 1e-3)


@pytest.mark.gpu
@torch.no_grad()
def test_under_autocast(randomise, exact):
    for family in (TRTViT, EfficientViT):
        model = randomise(family()).eval().cuda()
        x = torch.randn(2, 3, 101, 203, device='cuda')
        for fused in (fuse(model), fuse(model).half()):  # images are in single precision
            with torch.autocast('cuda', torch.float16):
                assert_near(fused(x), model(x), HALVES[torch.float16])
