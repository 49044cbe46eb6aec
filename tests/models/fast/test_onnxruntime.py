"""Graphs for ONNX Runtime against the models that they are made of, and what it makes of them."""

import itertools
from collections import Counter
from copy import deepcopy

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.models import EfficientViT, TRTViT, fuse
from mmtrtvit.models.fast.onnxruntime import Grid, OnnxBackbone, for_onnxruntime
from mmtrtvit.models.windows import merge_tokens, split_tokens

SIZES = [(1, 3, 101, 203), (2, 3, 32, 32), (1, 3, 300, 401)]
NAMES = 'map0', 'map1', 'map2'
AXES = {name: {0: 'batch', 2: f'{name}_height', 3: f'{name}_width'} for name in ('image', *NAMES)}


def assert_equal(actual, expected, tolerance=1e-5):
    """Equal up to a share of each output's largest value."""
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= tolerance * other.abs().max()


def session(path, optimised=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])


def run(path, x):
    found = session(path).run(None, {'image': x.numpy()})
    return tuple(map(torch.from_numpy, found))


@pytest.mark.parametrize(
    'settings',
    [
        *(dict(arch=arch) for arch in EfficientViT.arch_settings),
        dict(window_size=(7, 7, 4)),
        dict(window_size=5, out_indices=(0, 1)),
        dict(out_indices=(1,)),
        dict(arch='m1', cascade=False, sandwich=False),
        dict(arch='m1', interaction=False, key_channels=None, ffn_ratio=4),
    ],
    ids=str,
)
@torch.no_grad()
def test_the_outputs_are_the_same(settings, randomise):
    model = randomise(EfficientViT(**settings)).eval()
    changed = for_onnxruntime(fuse(model))
    assert type(changed) is OnnxBackbone
    for size in SIZES:
        x = torch.randn(size)
        assert_equal(changed(x), model(x))
    for name in ('out_indices', 'out_channels', 'out_strides'):
        assert getattr(changed, name) == getattr(model, name)


@torch.no_grad()
def test_backbones_within_a_model_are_changed(randomise):
    model = nn.ModuleDict(dict(backbone=randomise(EfficientViT('m0')), neck=nn.Conv2d(192, 8, 1)))
    fused = fuse(model)
    changed = for_onnxruntime(deepcopy(fused))
    assert type(changed['backbone']) is OnnxBackbone
    x = torch.randn(1, 3, 75, 130)
    assert_equal(changed['backbone'](x), fused['backbone'](x))
    assert_close(changed['neck'].state_dict(), fused['neck'].state_dict(), rtol=0, atol=0)
    assert not any(each.requires_grad for each in changed.parameters())
    assert not any('qkv' in name for name in changed.state_dict())


@torch.no_grad()
def test_trt_vit_stays_as_it_is(randomise):
    fused = fuse(randomise(TRTViT(dict(depths=(1, 1, 1, 1), channels=(32, 32, 64, 64)))))
    changed = for_onnxruntime(deepcopy(fused))
    assert_close(changed.state_dict(), fused.state_dict(), rtol=0, atol=0)
    x = torch.randn(1, 3, 75, 130)
    assert_close(changed(x), fused(x), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize('least_channels, widths', [(16, [16, 16, 32, 64]), (1, [8, 16, 32, 64])])
def test_the_stem_has_channels_of_zeros_where_asked(least_channels, widths, randomise):
    model = randomise(EfficientViT('m0')).eval()
    changed = for_onnxruntime(fuse(model), least_channels)
    assert [conv.out_channels for conv in changed.stem] == widths
    x = torch.randn(1, 3, 75, 130)
    assert_equal(changed(x), model(x))


@torch.no_grad()
def test_a_copy_of_it_takes_other_sizes(randomise):
    """Nothing of the last images' sizes is kept."""
    changed = for_onnxruntime(fuse(randomise(EfficientViT('m0'))))
    changed(torch.randn(1, 3, 200, 300))
    x = torch.randn(1, 3, 75, 130)
    assert_equal(fuse(changed)(x), changed(x))


@pytest.mark.parametrize(
    'exporter, traced',
    [('torchscript', (64, 64)), ('torchscript', (480, 512)), ('dynamo', (480, 512))],
)
@torch.no_grad()
def test_one_graph_holds_for_every_size(exporter, traced, randomise, tmp_path):
    if exporter == 'dynamo':
        pytest.importorskip('torch', minversion='2.7')
    model, path = randomise(EfficientViT('m0')).eval(), tmp_path / 'model.onnx'
    image = dict(image=torch.randn(2, 3, *traced))
    export(
        for_onnxruntime(fuse(model)),
        image,
        path=path,
        output_names=NAMES,
        dynamic_axes=AXES,
        exporter=exporter,
    )
    for size in ((2, 96, 160), (1, 75, 101), (3, 33, 47), (1, 32, 32), (1, 513, 490)):
        x = torch.randn(size[0], 3, *size[1:])
        assert_equal(run(path, x), model(x), 1e-4)


@pytest.mark.parametrize(
    'options',
    [{}, dict(cascade=False, sandwich=False, interaction=False, key_channels=None, ffn_ratio=4)],
    ids=str,
)
@torch.no_grad()
def test_a_graph_of_one_size(options, randomise, tmp_path):
    model, path = randomise(EfficientViT('m0', **options)).eval(), tmp_path / 'model.onnx'
    x = torch.randn(1, 3, 75, 130)
    export(for_onnxruntime(fuse(model)), dict(image=x), path=path, output_names=NAMES)
    assert_equal(run(path, x), model(x), 1e-4)
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert not kinds.keys() & {'Shape', 'Range'}


@pytest.fixture(params=[False, True], ids=['fused', 'for_onnxruntime'])
def optimised(request, randomise, tmp_path):
    """Whether M0's graph was made for ONNX Runtime, and how many nodes of a kind it will run."""
    model = fuse(randomise(EfficientViT('m0')))
    if request.param:
        model = for_onnxruntime(model)
    path = tmp_path / 'model.onnx'
    export(
        model,
        dict(image=torch.randn(2, 3, 480, 512)),
        path=path,
        output_names=NAMES,
        dynamic_axes=AXES,
    )
    session(path, tmp_path / 'optimised.onnx')
    nodes = onnx.load(tmp_path / 'optimised.onnx').graph.node
    kinds = Counter(node.op_type for node in nodes)
    if 'ReorderOutput' not in kinds:
        pytest.skip('ONNX Runtime has no blocks of channels for this processor')
    return request.param, kinds


def test_what_onnx_runtime_makes_of_it(optimised):
    """Blocks of channels are left for attention and squeeze-excite, six and two times, and for the
    three outputs only; the fused copy shows what these are measured by."""
    changed, kinds = optimised
    assert (kinds['ReorderOutput'] == 6 + 2 + 3) == changed
    assert (kinds['Pad'] == kinds['Slice'] == kinds['Split'] == 0) == changed


@pytest.mark.parametrize('size', itertools.product((1, 6, 7, 8, 20), (1, 7, 13)), ids=str)
def test_a_grid_has_the_tokens_of_the_windows(size):
    height, width = size
    tokens = torch.randn(2, height, width, 4)
    windows = split_tokens(tokens, 7, 4)
    grid = Grid.of(torch.empty(2, 3, height * 16 - 5, width * 16 - 15), 16, window_size=7, heads=2)
    assert (grid.height, grid.width) == size
    groups = nn.functional.pad(tokens, (0, 0, 1, 1, 1, 1)).reshape(2, -1, 2)
    for index, group in zip(grid.split, windows.split(2, dim=2), strict=True):
        assert torch.equal(groups[:, index].reshape(group.shape), group)
    merged = windows.reshape(2, -1, 4)[:, grid.merge].reshape(tokens.shape)
    assert torch.equal(merged, merge_tokens(windows, 7, height=height, width=width, channels=4))
