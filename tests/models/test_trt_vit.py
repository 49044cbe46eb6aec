import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models import resnet
from torchvision.ops import StochasticDepth

from mmtrtvit.models import TRTViT
from mmtrtvit.models.trt_vit import (
    BottleNeck,
    MixBlockA,
    MixBlockB,
    MixBlockC,
    SelfAttention,
    Transformer,
)

# Parameters in millions, with the 1000 x C weights of a classifier, and MACs in billions at
# 224 x 224. C's and D's are the paper's; it counts convolutions and linear layers, so neither
# BatchNorm nor the products of attention.
SIZES = {
    'a': (22.05, 3.178),
    'b': (40.39, 4.432),
    'c': (67.3, 5.899),
    'd': (103.0, 9.720),
}
MIX_BLOCKS = {'MA': MixBlockA, 'MB': MixBlockB, 'MC': MixBlockC}
SMALL = dict(depths=(1, 2, 1, 2), channels=(32, 64, 64, 128))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def mix_block(kind: str, mix_ratio: float = 0.5, channels: int = 128) -> nn.Module:
    return MIX_BLOCKS[kind](channels, mix_ratio, head_dim=32, mlp_ratio=3.0, drop_path=0.0)


# The whole


@pytest.mark.parametrize('arch', TRTViT.arch_settings)
def test_parameters_and_macs(arch, macs):
    parameters, operations = SIZES[arch]
    model = TRTViT(arch)
    assert (count(model) + 1000 * model.out_channels[-1]) / 1e6 == pytest.approx(
        parameters, rel=5e-3
    )
    by_operator = macs(model, 224, 224)
    assert round((by_operator['conv'] + by_operator['linear']) / 1e9, 3) == operations


def test_stem_and_patch_embeddings_halve_the_map_five_times():
    model, x = TRTViT(SMALL).eval(), torch.randn(1, 3, 75, 101)
    x = model.stem(x)
    assert x.shape == (1, 64, 19, 26)
    first, pool = model.stages[0][0], model.stages[1][0]
    assert first(x).shape == (1, 32, 19, 26)
    assert_close(pool(x)[:, :, :9, :], nn.functional.avg_pool2d(x, 2))
    assert_close(pool(x)[:, :, 9, :], nn.functional.avg_pool1d(x[:, :, 18, :], 2))
    fitting = TRTViT(dict(SMALL, channels=(64, 64, 64, 128)))
    assert [type(stage[0]).__name__ for stage in fitting.stages] == [
        'BottleNeck',
        'AvgPool2d',
        'AvgPool2d',
        'AvgPool2d',
    ]


@pytest.mark.parametrize(
    'pattern, kinds',
    [
        ('C-C-C-M', (BottleNeck, BottleNeck, BottleNeck, MixBlockC)),
        ('C-C-M-M', (BottleNeck, BottleNeck, MixBlockC, MixBlockC)),
        ('C-M-M-M', (BottleNeck, MixBlockC, MixBlockC, MixBlockC)),
        ('M-M-M-M', (MixBlockC, MixBlockC, MixBlockC, MixBlockC)),
        ('C-C-C-T', (BottleNeck, BottleNeck, BottleNeck, Transformer)),
        ('c-ma-mb-mc', (BottleNeck, MixBlockA, MixBlockB, MixBlockC)),
    ],
)
def test_pattern_chooses_the_block_of_each_stage(pattern, kinds):
    model = TRTViT(dict(SMALL, channels=(64, 64, 64, 128)), pattern=pattern)
    for stage, kind, depth in zip(model.stages, kinds, SMALL['depths']):
        assert {type(block) for block in stage[-depth:]} == {kind}
    assert [tuple(each.shape[1:]) for each in model(torch.randn(2, 3, 64, 96))] == [
        (64, 16, 24),
        (64, 8, 12),
        (64, 4, 6),
        (128, 2, 3),
    ]


def test_drop_path_grows_linearly_over_all_blocks():
    model = TRTViT(SMALL, drop_path_rate=0.5)
    rates = [
        sorted({each.p for each in block.modules() if isinstance(each, StochasticDepth)})
        for stage, depth in zip(model.stages, SMALL['depths'])
        for block in stage[-depth:]
    ]
    assert_close(torch.tensor(rates), torch.linspace(0, 0.5, 6)[:, None])


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(pattern='C-C-C-X'), "block 'X' is unknown, expected C, T, M, MA, MB, MC"),
        (dict(pattern='C-C-M'), 'four stages.*C-C-M'),
        (dict(arch=dict(SMALL, depths=(1, 1, 1))), r'four stages.*\(1, 1, 1\)'),
        (dict(mix_ratio=0.0), 'mix_ratio=0.0 gives 0 of 128 .* at least head_dim=32'),
        (dict(mix_ratio=1.0), 'mix_ratio=1.0 gives 128 of 128 '),
        (dict(mix_ratio=-0.5), 'mix_ratio=-0.5 gives -64 of 128'),
        (
            dict(head_dim=96, pattern='C-C-C-T'),
            '128 channels, which is not a multiple of head_dim=96',
        ),
    ],
    ids=str,
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TRTViT(**{'arch': SMALL, **settings})


# The blocks


@pytest.mark.parametrize(
    'block',
    [
        lambda: BottleNeck(64, 16, 0.5),
        lambda: Transformer(64, drop_path=0.5),
        *(
            lambda kind=kind, ratio=ratio: mix_block(kind, ratio)
            for kind in MIX_BLOCKS
            for ratio in (0.25, 0.5, 0.75, 0.3)
        ),
    ],
)
def test_a_block_keeps_the_shape_and_trains(block, randomise):
    block = randomise(block()).train()
    channels = next(each for each in block.parameters() if each.ndim > 1).shape[1]
    x = torch.randn(8, channels, 5, 7, requires_grad=True)
    block(x).mul(torch.randn(8, channels, 5, 7)).sum().backward()
    assert block(x).shape == x.shape
    for parameter in (x, *block.parameters()):
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0


@pytest.mark.parametrize('kind', MIX_BLOCKS)
@pytest.mark.parametrize(
    'mix_ratio, width', [(0.25, 32), (0.5, 64), (0.75, 96), (0.3, 32), (0.4, 64)]
)
def test_mix_ratio_divides_the_channels_by_whole_heads(kind, mix_ratio, width):
    block = mix_block(kind, mix_ratio)
    assert block.transformer.norm1.normalized_shape == (width,)
    assert block.bottleneck.branch[0].conv.in_channels == 128 - width


def test_mix_blocks_cost_the_same():
    models = [TRTViT(SMALL, pattern=f'C-C-C-{kind}') for kind in MIX_BLOCKS]
    assert len({count(model) for model in models}) == 1


def test_mix_blocks_have_equal_macs(macs):
    a, b, c = (macs(TRTViT(SMALL, pattern=f'C-C-C-{kind}'), 96, 64) for kind in MIX_BLOCKS)
    assert a == b == c


@pytest.mark.parametrize('mix_ratio', [0.25, 0.5, 0.75])
@pytest.mark.parametrize(
    'kind, transformer_sees, bottleneck_sees',
    [('MA', False, False), ('MB', True, False), ('MC', False, True)],
)
def test_what_sees_what(randomise, kind, mix_ratio, transformer_sees, bottleneck_sees):
    """Whether one part's input changes when the other part's output is zeroed."""
    block, x = randomise(mix_block(kind, mix_ratio)).eval(), torch.randn(2, 128, 5, 7)
    parts = dict(transformer=block.transformer, bottleneck=block.bottleneck)
    inputs = {}
    for name, part in parts.items():
        part.register_forward_pre_hook(
            lambda _, args, name=name: inputs.__setitem__(name, args[0].clone())
        )

    def inputs_without(name=None):
        hook = name and parts[name].register_forward_hook(lambda _, args, out: out * 0)
        block(x)
        if hook:
            hook.remove()
        return dict(inputs)

    intact = inputs_without()
    assert transformer_sees is not torch.equal(
        intact['transformer'], inputs_without('bottleneck')['transformer']
    )
    assert bottleneck_sees is not torch.equal(
        intact['bottleneck'], inputs_without('transformer')['bottleneck']
    )


@pytest.mark.parametrize('kind', MIX_BLOCKS)
def test_a_mix_block_merges_global_and_local_channels(randomise, kind):
    block, x = randomise(mix_block(kind, 0.25)).eval(), torch.randn(2, 128, 5, 7)
    outputs = []
    for part in (block.transformer, block.bottleneck):
        part.register_forward_hook(lambda _, args, output: outputs.append(output))
    actual = block(x)
    outputs.sort(key=lambda output: output.shape[1])  # 32 global before 96 local
    assert_close(actual, block.merge(torch.cat(outputs, dim=1)))


def test_attention_equals_pytorch():
    ours, reference = SelfAttention(96, 32), nn.MultiheadAttention(96, 3, batch_first=True)
    reference.load_state_dict(
        {
            'in_proj_weight': ours.qkv.weight,
            'in_proj_bias': ours.qkv.bias,
            'out_proj.weight': ours.proj.weight,
            'out_proj.bias': ours.proj.bias,
        }
    )
    x = torch.randn(2, 35, 96)
    assert_close(ours(x), reference(x, x, x)[0])


def test_transformer_equals_pytorch(randomise):
    ours = randomise(Transformer(96)).eval()
    reference = nn.TransformerEncoderLayer(
        96, 3, 288, dropout=0.0, activation='gelu', batch_first=True, norm_first=True
    ).eval()
    names = {
        'attention.qkv.': 'self_attn.in_proj_',
        'attention.proj': 'self_attn.out_proj',
        'mlp.0': 'linear1',
        'mlp.2': 'linear2',
    }
    weights = {}
    for key, value in ours.state_dict().items():
        for old, new in names.items():
            key = key.replace(old, new)
        weights[key] = value
    reference.load_state_dict(weights)
    x = torch.randn(2, 96, 5, 7)
    expected = reference(x.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(x)
    assert_close(ours(x), expected)


@pytest.mark.parametrize('training', [False, True])
def test_bottleneck_equals_torchvision(randomise, training):
    ours = randomise(BottleNeck(64, 16)).train(training)
    reference = resnet.Bottleneck(64, 16).train(training)
    weights = {}
    for key, value in ours.state_dict().items():
        _, number, layer, name = key.split('.')
        weights[f'{dict(conv="conv", norm="bn")[layer]}{int(number) + 1}.{name}'] = value
    reference.load_state_dict(weights)
    x = torch.randn(4, 64, 9, 11)
    assert_close(ours(x.clone()), reference(x))
