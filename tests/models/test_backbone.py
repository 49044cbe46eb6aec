import io
import pickle
from copy import deepcopy

import onnxruntime
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.testing import assert_close

from mmtrtvit.models import EfficientViT, TRTViT

SMALL = {
    TRTViT: dict(depths=(1, 1, 1, 1), channels=(32, 32, 64, 64)),
    EfficientViT: dict(channels=(16, 32, 32), depths=(1, 1, 1), heads=(2, 2, 2), kernels=(5, 3)),
}
VARIANTS = [(family, arch) for family in SMALL for arch in family.arch_settings]
SIZES = [(32, 32), (33, 47), (65, 130), (224, 224), (300, 401)]
FREEZING = [(family, k) for family, n in ((TRTViT, 4), (EfficientViT, 3)) for k in range(-1, n + 1)]


@pytest.fixture(params=SMALL, ids=lambda family: family.__name__)
def family(request):
    return request.param


@pytest.fixture
def small(family, randomise):
    """Builds a small, randomised backbone, in eval mode."""
    return lambda **settings: randomise(family(SMALL[family], **settings)).eval()


def norms(module: nn.Module) -> list[_BatchNorm]:
    return [each for each in module.modules() if isinstance(each, _BatchNorm)]


def loss(maps) -> torch.Tensor:
    """A scalar that feels the sign of every value, for a gradient behind a final ReLU as well."""
    return sum((each * torch.linspace(-1, 1, each.numel()).view_as(each)).sum() for each in maps)


# Shapes


@pytest.fixture(scope='module', params=VARIANTS, ids=lambda v: f'{v[0].__name__}-{v[1]}')
def variant(request):
    family, arch = request.param
    return family(arch).eval()


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_declared_channels_and_strides_are_the_real_ones(variant, size):
    with torch.no_grad():
        maps = variant(torch.randn(1, 3, *size))
    expected = [
        (1, channels, *(-(-side // stride) for side in size))
        for channels, stride in zip(variant.out_channels, variant.out_strides)
    ]
    assert [tuple(each.shape) for each in maps] == expected
    assert all(each.isfinite().all() for each in maps)


@pytest.mark.parametrize('out_indices', [(0,), (2,), (0, 2), (1, 2), [0, 1, 2]], ids=str)
def test_out_indices_choose_among_all_maps(small, out_indices):
    everything, chosen = small(), small(out_indices=out_indices)
    chosen.load_state_dict(everything.state_dict())
    x = torch.randn(2, 3, 64, 96)
    assert_close(chosen(x), tuple(everything(x)[i] for i in out_indices), rtol=0, atol=0)
    for name in ('out_channels', 'out_strides'):
        assert getattr(chosen, name) == tuple(getattr(everything, name)[i] for i in out_indices)


@pytest.mark.parametrize('out_indices', [(), (-1,), (1, 0), (1, 1), (0, 4)], ids=str)
def test_bad_out_indices(small, out_indices):
    with pytest.raises(ValueError, match=r'out_indices=.*increasing stage numbers from 0 to [23]'):
        small(out_indices=out_indices)


@pytest.mark.parametrize('size', [(31, 64), (64, 31), (1, 1)], ids=str)
def test_too_small_a_image(small, size):
    with pytest.raises(ValueError, match=f'{size[0]} x {size[1]} .*at least 32 x 32'):
        small()(torch.randn(1, 3, *size))


# Building


@pytest.mark.parametrize('arch', ['tiny', '', None, 3], ids=repr)
def test_unknown_arch(family, arch):
    names = ', '.join(family.arch_settings)
    with pytest.raises(ValueError, match=f'{family.__name__}: arch={arch!r} is unknown.*{names}'):
        family(arch)


def test_arch_with_other_keys(family):
    for wrong in ({}, {**SMALL[family], 'widths': 1}, {'depths': (1, 1, 1)}):
        with pytest.raises(ValueError, match=f"{family.__name__}.*expected exactly .*'channels'"):
            family(wrong)


@pytest.mark.parametrize('family, arch', [(TRTViT, 'b'), (EfficientViT, 'M0')])
def test_built_from_the_root_registry(family, arch):
    model = MODELS.build(dict(type=family.__name__, arch=arch))
    assert type(model) is family
    assert model.out_channels == family.arch_settings[arch.lower()]['channels']


def test_pretrained_weights_are_loaded(small, tmp_path):
    expected = small()
    torch.save({'state_dict': expected.state_dict()}, tmp_path / 'weights.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    model = small(init_cfg=init_cfg)
    model.init_weights()
    assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_state_dict_round_trip(small):
    model, other, x = small(), small(), torch.randn(1, 3, 64, 96)
    assert not torch.equal(model(x)[-1], other(x)[-1])
    other.load_state_dict(pickle.loads(pickle.dumps(model.state_dict())))
    assert_close(other(x), model(x), rtol=0, atol=0)


# Training


@pytest.mark.parametrize('family, frozen_stages', FREEZING)
def test_frozen_stages(family, frozen_stages):
    model = family(SMALL[family], frozen_stages=frozen_stages).train()
    for number, part in enumerate((model.stem, *model.stages)):
        frozen = number <= frozen_stages
        assert {each.requires_grad for each in part.parameters()} == {not frozen}
        assert {each.training for each in part.modules()} == {not frozen}
    before = deepcopy(model.state_dict())
    maps = model(torch.randn(2, 3, 64, 96))
    if frozen_stages < len(model.stages):
        loss(maps).backward()
    changed = {
        name.split('.norm.')[0]
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    parts = ('stem.', *(f'stages.{i}.' for i in range(len(model.stages))))
    assert {part for part in parts for name in changed if name.startswith(part)} == set(
        parts[frozen_stages + 1 :]
    )


@pytest.mark.parametrize('frozen_stages', [-2, 5, 1.5, None], ids=repr)
def test_bad_frozen_stages(family, frozen_stages):
    with pytest.raises(ValueError, match=f'frozen_stages={frozen_stages}: expected -1 .*, 0 '):
        family(SMALL[family], frozen_stages=frozen_stages)


def test_norm_eval(small):
    model = small(norm_eval=True).train()
    assert model.training and not any(norm.training for norm in norms(model))
    assert all(norm.weight.requires_grad for norm in norms(model))
    assert all(norm.training for norm in norms(small().train()))


def test_train_and_eval_return_the_model(small):
    model = small(frozen_stages=1, norm_eval=True)
    assert model.train() is model and model.training
    assert model.eval() is model and not any(each.training for each in model.modules())


@pytest.mark.parametrize('settings', [{}, dict(frozen_stages=1), dict(norm_eval=True)], ids=str)
def test_checkpointing_changes_no_number(family, small, settings):
    if family is TRTViT:
        settings = {**settings, 'drop_path_rate': 0.5}
    plain = small(**settings).train()
    recomputed = small(**settings, with_cp=True).train()
    recomputed.load_state_dict(plain.state_dict())
    x = torch.randn(4, 3, 64, 96)
    outputs = []
    for model in (plain, recomputed):
        torch.manual_seed(1)  # of drop path
        outputs.append(model(x))
        loss(outputs[-1]).backward()
    assert_close(*outputs)
    for (name, one), other in zip(plain.named_parameters(), recomputed.parameters()):
        assert (one.grad is None) == (other.grad is None) == (not one.requires_grad), name
        if one.requires_grad:
            assert_close(one.grad, other.grad, msg=lambda text, name=name: f'{name}: {text}')
    assert_close(plain.state_dict(), recomputed.state_dict())
    assert {int(norm.num_batches_tracked) for norm in norms(recomputed) if norm.training} <= {1}


@pytest.mark.parametrize('training', [True, False])
def test_every_parameter_gets_a_gradient(small, training):
    model = small().train(training)
    loss(model(torch.randn(2, 3, 64, 96))).backward()
    assert [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ] == []


# Layouts and precisions


def test_channels_last_equals_contiguous(small):
    model, x = small().double(), torch.randn(2, 3, 75, 101, dtype=torch.double)
    expected = model(x)
    assert_close(
        model.to(memory_format=torch.channels_last)(
            x.contiguous(memory_format=torch.channels_last)
        ),
        expected,
    )


@pytest.mark.parametrize('dtype, tolerance', [(torch.bfloat16, 0.08), (torch.float16, 0.01)])
def test_autocast(small, dtype, tolerance):
    model, x = small(), torch.randn(2, 3, 75, 101)
    with torch.no_grad():
        expected = model(x)
        with torch.autocast('cpu', dtype):
            maps = model(x)
    for actual, wanted in zip(maps, expected):
        assert actual.isfinite().all()
        assert (actual.float() - wanted).std() < tolerance * wanted.std()


# Graphs for other sizes than the traced one


@pytest.mark.parametrize(
    'family, traced, others',
    [
        (TRTViT, (2, 96, 160), [(1, 75, 101), (3, 33, 47)]),
        (EfficientViT, (2, 480, 512), [(1, 449, 701)]),
    ],
    ids=['TRTViT', 'EfficientViT'],
)
@torch.no_grad()
def test_exported_program_holds_for_other_sizes(small, traced, others):
    """torch.export takes a 1 for a constant: each map and grid of windows must have more rows and
    columns, which for EfficientViT is more than 448 pixels."""
    pytest.importorskip('torch', minversion='2.10')
    model, (batch, *size) = small(), traced
    program = torch.export.export(
        model,
        (torch.randn(batch, 3, *size),),
        dynamic_shapes=(dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC),),
    ).module()
    for batch, *size in (traced, *others):
        x = torch.randn(batch, 3, *size)
        assert_close(program(x), model(x))


@pytest.mark.slow
@torch.no_grad()
def test_compiled_for_two_sizes(small):
    pytest.importorskip('torch', minversion='2.6')
    model = small()
    compiled = torch.compile(model, backend='aot_eager', dynamic=True)
    for size in ((2, 3, 480, 512), (1, 3, 481, 577)):
        x = torch.randn(size)
        assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)


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
        model,
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
        assert_close(actual, model(x), rtol=1e-4, atol=1e-4)
