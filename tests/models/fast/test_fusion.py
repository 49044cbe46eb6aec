"""Fused copies against the models that they are made of."""

import importlib
import io
import itertools
from copy import deepcopy
from pathlib import Path

import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn.utils import parametrizations
from torch.testing import assert_close
from torchvision.models import resnet50

from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.models import EfficientViT, TRTViT, fuse
from mmtrtvit.models.efficientvit import PatchMerging, SandwichBlock
from mmtrtvit.models.fast import onednn
from mmtrtvit.models.fast.fusion import FusedBackbone
from mmtrtvit.models.fast.layers import FastLinear
from mmtrtvit.models.layers import ConvNorm
from mmtrtvit.models.trt_vit import MixBlockC
from mmtrtvit.models.windows import merge_tokens, merge_windows, split_tokens, split_windows

CONFIGS = Path(__file__).parents[3] / 'configs'
SMALL = {
    TRTViT: dict(depths=(1, 1, 2, 1), channels=(32, 32, 64, 64)),
    EfficientViT: dict(channels=(16, 24, 32), depths=(1, 1, 1), heads=(2, 3, 1), kernels=(5, 3, 3)),
}
VARIANTS = [(family, arch) for family in SMALL for arch in family.arch_settings]
SIZES = [(1, 3, 101, 203), (2, 3, 32, 32), (1, 3, 300, 401)]


@pytest.fixture(params=SMALL, ids=lambda family: family.__name__)
def small(request, randomise):
    """Builds a small, randomised backbone, in eval mode."""
    family = request.param
    return lambda **settings: randomise(family(SMALL[family], **settings)).eval()


def assert_equal(actual, expected, tolerance=1e-5):
    """Equal up to a share of each output's largest value."""
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= tolerance * other.abs().max()


def count(model, kind):
    return sum(isinstance(module, kind) for module in model.modules())


# Backbones


@pytest.mark.parametrize(
    'family, arch', VARIANTS, ids=lambda value: getattr(value, '__name__', value)
)
@torch.no_grad()
def test_every_variant_has_the_same_outputs(family, arch, randomise, monkeypatch):
    model = randomise(family(arch)).eval()
    fused = fuse(model)
    for size in SIZES:
        x = torch.randn(size)
        expected = model(x)
        assert_equal(fused(x), expected)
        with monkeypatch.context() as all_by_onednn:
            all_by_onednn.setattr(onednn, 'SMALL_PRODUCT', 0)
            assert_equal(fused(x), expected)
    assert count(fused, nn.BatchNorm2d) == 0 < count(model, nn.BatchNorm2d)


@pytest.mark.parametrize(
    'family, settings',
    [
        (EfficientViT, dict(window_size=(7, 7, 4))),
        (EfficientViT, dict(window_size=5, out_indices=(0, 1))),
        (EfficientViT, dict(cascade=False)),
        (EfficientViT, dict(sandwich=False, window_size=(7, 7, 4))),
        (EfficientViT, dict(interaction=False)),
        (EfficientViT, dict(key_channels=None, ffn_ratio=4)),
        (EfficientViT, dict(cascade=False, sandwich=False, interaction=False, key_channels=5)),
        (EfficientViT, dict(frozen_stages=1, norm_eval=True, with_cp=True, out_indices=(1,))),
        (TRTViT, dict(pattern='MA-MB-MC-T', mix_ratio=0.5, drop_path_rate=0.3)),
        (TRTViT, dict(pattern='T-C-M-C', mix_ratio=0.5, out_indices=(1, 3), with_cp=True)),
    ],
    ids=str,
)
@torch.no_grad()
def test_options_keep_the_outputs(family, settings, randomise):
    arch = dict(SMALL[family], channels=(64, 64, 64, 128)) if family is TRTViT else SMALL[family]
    model = randomise(family(arch, **settings)).eval()
    fused, x = fuse(model), torch.randn(2, 3, 75, 230)
    assert_equal(fused(x), model(x))
    for name in ('out_indices', 'out_channels', 'out_strides'):
        assert getattr(fused, name) == getattr(model, name)


@torch.no_grad()
def test_every_precision_keeps_the_outputs(small):
    model, x = small().double(), torch.randn(1, 3, 96, 130, dtype=torch.double)
    assert_equal(fuse(model)(x), model(x), 1e-12)
    single = fuse(model.float()).double()
    assert_equal(single(x), model.double()(x), 1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@torch.no_grad()
def test_maps_have_the_precision_of_the_images(small, dtype):
    model, x = small(), torch.randn(1, 3, 96, 130)
    half = fuse(model).to(dtype)
    maps = half(x)
    assert {each.dtype for each in maps} == {torch.float32}
    assert {each.dtype for each in half(x.to(dtype))} == {dtype}
    assert_equal(maps, model(x), 10 * torch.finfo(dtype).eps)


@torch.no_grad()
def test_the_model_is_left_alone(small):
    model, x = small(with_cp=True).train(), torch.randn(1, 3, 64, 96)
    before = deepcopy(model.state_dict())
    fused = fuse(model)
    assert model.training and all(each.requires_grad for each in model.parameters())
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    expected = fused(x)
    for value in model.state_dict().values():
        value.zero_()
    assert_close(fused(x), expected, rtol=0, atol=0)


def test_what_a_copy_has(small):
    fused = fuse(small(out_indices=(0,)))
    assert len(fused.stages) == 1
    assert count(fused, nn.Linear) == count(fused, FastLinear)
    for weight in fused.parameters():
        assert weight.dim() < 4 or weight.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_no_output_is_changed_by_later_stages(small):
    """What is computed in place is seen by nothing else: not the input, not a returned map."""
    model, x = small(), torch.randn(1, 3, 64, 96)
    for kept in (x, x.contiguous(memory_format=torch.channels_last)):
        assert_equal(fuse(model)(kept.clone()), model(x))
        before = kept.clone()
        fuse(model)(kept)
        assert torch.equal(kept, before)


@torch.no_grad()
def test_the_state_dict_loads_into_another_copy(small):
    one, other, x, file = fuse(small()), fuse(small()), torch.randn(1, 3, 64, 96), io.BytesIO()
    assert not torch.equal(one(x)[-1], other(x)[-1])
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_close(other(x), one(x), rtol=0, atol=0)


@torch.no_grad()
def test_fusing_twice_changes_nothing(small):
    once, x = fuse(small()), torch.randn(1, 3, 64, 96)
    twice = fuse(once)
    assert twice is not once and type(twice) is FusedBackbone
    assert_close(twice.state_dict(), once.state_dict(), rtol=0, atol=0)
    assert_close(twice(x), once(x), rtol=0, atol=0)


def test_a_fused_copy_cannot_be_trained(small):
    fused = fuse(small())
    assert not any(each.training for each in fused.modules())
    assert not any(each.requires_grad for each in fused.parameters())
    assert fused.eval() is fused
    for model in (fused, nn.Sequential(fused)):
        with pytest.raises(ValueError, match='train the model that it was made of'):
            model.train()


def test_too_small_a_image(small):
    with pytest.raises(ValueError, match='31 x 64 .*at least 32 x 32'):
        fuse(small())(torch.randn(1, 3, 31, 64))


@pytest.mark.parametrize('dynamo, traced', [(False, 64), (False, 448), (True, 480)])
@torch.no_grad()
def test_onnx_holds_for_every_size(small, dynamo, traced):
    model, file = small(), io.BytesIO()
    names = [f'map{i}' for i in range(len(model.stages))]
    if dynamo:
        pytest.importorskip('torch', minversion='2.9')
        settings = dict(
            dynamic_shapes=(dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC),), opset_version=18
        )
    else:
        axes = {
            name: {0: 'batch', 2: f'{name}_height', 3: f'{name}_width'}
            for name in ('image', *names)
        }
        settings = dict(dynamic_axes=axes, opset_version=17)
    torch.onnx.export(
        fuse(model),
        (torch.randn(2, 3, traced, traced),),
        file,
        dynamo=dynamo,
        verbose=False,
        input_names=['image'],
        output_names=names,
        **settings,
    )
    session = onnxruntime.InferenceSession(file.getvalue(), providers=['CPUExecutionProvider'])
    for size in ((2, 3, 96, 160), (1, 3, 75, 101), (3, 3, 33, 47), (1, 3, 32, 32)):
        x = torch.randn(size)
        actual = tuple(map(torch.from_numpy, session.run(None, {'image': x.numpy()})))
        assert_equal(actual, model(x), 1e-4)


# Blocks


@pytest.mark.parametrize(
    'channels, block',
    [
        (24, lambda: SandwichBlock(24, (5, 3), 7)),
        (16, lambda: PatchMerging(16, 24)),
        (128, lambda: MixBlockC(128, 0.25, head_dim=32, mlp_ratio=3.0, drop_path=0.0)),
        (8, lambda: ConvNorm(8, 16, kernel_size=3, stride=2, act=True)),
    ],
)
@torch.no_grad()
def test_blocks_outside_a_backbone_keep_their_kind(channels, block, randomise):
    block, x = randomise(block()).eval(), torch.randn(2, channels, 9, 16)
    fused = fuse(block)
    assert_equal([fused(x)], [block(x)])
    assert type(fused) is type(block) and count(fused, nn.BatchNorm2d) == 0


@pytest.mark.parametrize('size', [(7, 7), (1, 1), (5, 9), (14, 20), (8, 7)], ids=str)
def test_tokens_are_those_of_the_windows(size):
    x = torch.randn(2, 3, *size)
    tokens = split_tokens(x.permute(0, 2, 3, 1), 7, x.shape[1])
    windows = split_windows(x, 7)
    assert torch.equal(tokens, windows.flatten(2).transpose(1, 2))
    merged = merge_windows(windows, *size).permute(0, 2, 3, 1)
    height, width = size
    found = merge_tokens(tokens, 7, height=height, width=width, channels=x.shape[1])
    assert torch.equal(found, merged)


# Pairs of convolution and norm


def pair(conv=None, norm=None):
    return nn.Sequential(conv or nn.Conv2d(4, 6, 3), norm or nn.BatchNorm2d(6))


def shared_conv():
    conv = nn.Conv2d(4, 4, 1)
    return nn.Sequential(
        nn.Sequential(conv, nn.BatchNorm2d(4)), nn.Sequential(conv, nn.BatchNorm2d(4))
    )


def shared_pair():
    block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    return nn.Sequential(block, nn.ReLU(), block)


def behind_a_shared_relu():
    relu, conv = nn.ReLU(), nn.Conv2d(4, 4, 1)
    return nn.Sequential(conv, relu, nn.BatchNorm2d(4), relu)


def hooked():
    model = pair()
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    return model


class Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Reversed(nn.Sequential):
    def forward(self, x):
        return self[0](self[1](x))


@pytest.mark.parametrize(
    'build, left',
    [
        (pair, 0),
        (lambda: pair(nn.Conv2d(4, 6, 3, bias=False, padding=1, padding_mode='reflect')), 0),
        (lambda: pair(nn.Conv2d(4, 6, 3, groups=2)), 0),
        (lambda: pair(nn.ConvTranspose2d(4, 6, 2, 2)), 0),
        (lambda: pair(nn.ConvTranspose2d(4, 6, 2, 2, groups=2)), 1),
        (lambda: pair(norm=nn.BatchNorm2d(6, affine=False)), 0),
        (lambda: pair(norm=nn.BatchNorm2d(6, track_running_stats=False)), 1),
        (lambda: pair(norm=nn.SyncBatchNorm(6)), 0),
        (lambda: revert_sync_batchnorm(pair(norm=nn.SyncBatchNorm(6))), 0),
        (lambda: pair(norm=nn.GroupNorm(2, 6)), 0),
        (lambda: pair(Doubled(4, 6, 3)), 1),
        (lambda: pair(parametrizations.spectral_norm(nn.Conv2d(4, 6, 3))), 1),
        (lambda: Reversed(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)), 1),
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), 1),
        (hooked, 1),
        (shared_conv, 2),
        (shared_pair, 0),
        (behind_a_shared_relu, 1),
    ],
)
@torch.no_grad()
def test_pairs(build, left):
    model, x = build().eval(), torch.randn(2, 4, 8, 9)
    for norm in model.modules():
        if getattr(norm, 'running_var', None) is not None:
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
        if getattr(norm, 'affine', False):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    fused = fuse(model)
    assert_equal([fused(x)], [model(x)])
    assert count(fused, nn.modules.batchnorm._BatchNorm) == left


@pytest.mark.parametrize(
    'settings, left',
    [
        (dict(norm_cfg=dict(type='BN')), 0),
        (dict(norm_cfg=dict(type='BN'), conv_cfg=dict(type='deconv'), stride=2), 0),
        (dict(norm_cfg=dict(type='BN'), order=('norm', 'conv', 'act')), 1),
        (dict(norm_cfg=dict(type='BN'), order=('conv', 'act', 'norm')), 1),
        (dict(norm_cfg=dict(type='BN'), order=('act', 'conv', 'norm')), 0),
        (dict(norm_cfg=dict(type='BN'), efficient_conv_bn_eval=True), 0),
        (dict(norm_cfg=dict(type='BN'), padding_mode='reflect', padding=1), 0),
        (dict(norm_cfg=dict(type='BN'), with_spectral_norm=True), 1),
        (dict(norm_cfg=dict(type='GN', num_groups=2)), 0),
        (dict(), 0),
    ],
    ids=str,
)
@torch.no_grad()
def test_conv_modules(settings, left, randomise):
    bricks = pytest.importorskip('mmcv.cnn')
    model, x = randomise(bricks.ConvModule(4, 4, 3, **settings)).eval(), torch.randn(2, 4, 8, 9)
    fused = fuse(model)
    assert_equal([fused(x)], [model(x)])
    assert count(fused, nn.BatchNorm2d) == left


@torch.no_grad()
def test_a_resnet_has_no_norm_left(randomise):
    model, x = randomise(resnet50()).eval(), torch.randn(2, 3, 64, 96)
    fused = fuse(model)
    assert_equal([fused(x)], [model(x)])
    assert count(fused, nn.BatchNorm2d) == 0


# Whole models of our configs


MODELS = [
    f'{method}_{backbone}'
    for method in ('retinanet', 'mask_rcnn', 'upernet', 'fpn')
    for backbone in ('trtvit_a', 'efficientvit_m0')
]
BATCH_NORM = dict(type='BN')
RESNET = (
    'retinanet_trtvit_a',
    {
        'model.backbone': dict(
            _delete_=True, type='ResNet', depth=50, out_indices=(1, 2, 3), norm_cfg=BATCH_NORM
        ),
        'model.neck.in_channels': [512, 1024, 2048],
        'model.neck.norm_cfg': dict(BATCH_NORM, _delete_=True),
        'model.bbox_head.norm_cfg': dict(BATCH_NORM, _delete_=True),
    },
)


def build_model(name, changes=None):
    """The model of a config."""
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.merge_from_dict(changes or {})
    import_host(config.default_scope)
    host = importlib.import_module(f'{config.default_scope}.registry')
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return revert_sync_batchnorm(host.MODELS.build(config.model)).eval()


def dense_outputs(model, x):
    """What the backbone, the neck and the heads make of images, and heads of regions."""
    maps = model.extract_feat(x)
    if hasattr(model, 'decode_head'):
        return [*maps, model.decode_head(maps)]
    outputs = [
        *maps,
        *itertools.chain(
            *(model.bbox_head if hasattr(model, 'bbox_head') else model.rpn_head)(maps)
        ),
    ]
    if hasattr(model, 'roi_head'):
        for head, side in ((model.roi_head.bbox_head, 7), (model.roi_head.mask_head, 14)):
            result = head(
                torch.randn(3, 256, side, side, generator=torch.Generator().manual_seed(0))
            )
            outputs += result if isinstance(result, tuple) else [result]
    return outputs


@pytest.mark.parametrize('name, changes', [*((name, {}) for name in MODELS), RESNET])
@torch.no_grad()
def test_whole_models_have_the_same_outputs(name, changes, randomise):
    model = randomise(build_model(name, changes))
    fused, x = fuse(model), torch.randn(1, 3, 101, 203)
    assert_equal(dense_outputs(fused, x), dense_outputs(model, x))
    assert count(fused, nn.BatchNorm2d) == 0 < count(model, nn.BatchNorm2d)
    assert type(fused) is type(model)


@pytest.mark.parametrize('name', ['retinanet_efficientvit_m0', 'fpn_trtvit_a'])
@torch.no_grad()
def test_a_fused_model_is_exported(name, tmp_path, randomise):
    model = randomise(build_model(name))
    size = {0: 'batch', 2: 'height', 3: 'width'}
    if name.startswith('fpn'):
        from mmtrtvit.deploy.export.segmentors import ExportedSegmentor as Kind

        axes = dict(input=size, output=size)
    else:
        from mmtrtvit.deploy.export.detectors import ExportedOneStageDetector as Kind

        axes = dict(input=size, sizes={0: 'batch'}) | {
            output: {0: 'batch'} for output in Kind.output_names
        }
    fused = Kind(fuse(model)).eval()
    inputs = dict(input=torch.randn(2, 3, 96, 128), sizes=torch.tensor([[90.0, 120.0]] * 2))
    inputs = {key: value for key, value in inputs.items() if key in axes}
    export(
        fused,
        inputs,
        path=tmp_path / 'model.onnx',
        output_names=fused.output_names,
        dynamic_axes=axes,
    )
    session = onnxruntime.InferenceSession(str(tmp_path / 'model.onnx'))
    for height, width in ((96, 128), (160, 64)):
        inputs['input'] = torch.randn(1, 3, height, width)
        if 'sizes' in inputs:
            inputs['sizes'] = torch.tensor([[height - 5.0, width - 9.0]])
        expected = Kind(model).eval()(*inputs.values())
        found = session.run(None, {key: value.numpy() for key, value in inputs.items()})
        for one, other in zip(found, expected, strict=True):
            assert_close(torch.from_numpy(one), other, rtol=0, atol=1e-2)


def test_freed_memory_is_kept_from_the_first_copy_on(monkeypatch):
    calls = []
    monkeypatch.setattr('mmtrtvit.models.fast.fusion.keep_freed', lambda: calls.append(1))
    fuse(nn.Conv2d(3, 8, 1))
    assert calls
