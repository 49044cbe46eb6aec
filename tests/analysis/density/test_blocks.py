"""Blocks by name and by import path."""

import pytest
import torch

from mmtrtvit.analysis.cost import cost_of
from mmtrtvit.analysis.density.blocks import BLOCKS, build, find_block, stages_of
from mmtrtvit.errors import UserError
from mmtrtvit.models import TRTViT
from mmtrtvit.models.fast.layers import FastConv, FastLinear

STAGES = stages_of()
SMALL = stages_of((64, 96), (64, 64, 96, 128))
RESNET = 'torchvision.models.resnet:Bottleneck'


def macs(block, stage):
    module = build(block, stage, 'meta')
    x = torch.empty(1, *block.shape(stage), device='meta')
    return cost_of(module, lambda: module(x), [x]).total.macs / 1e6


def test_stages():
    assert [stage.map for stage in STAGES] == [
        (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7),
    ]  # fmt: skip
    assert [stage.entry for stage in STAGES[:2]] == [(64, 56, 56), (256, 56, 56)]
    assert stages_of((100, 130))[3].size == (4, 5)


@pytest.mark.parametrize(
    'name, first, last',
    [
        # 2 * 256 * 64 + 9 * 64 ** 2 a position, and the same for all stages
        ('BottleNeck', 218.366, 218.366),
        # (4 + 6) * C ** 2 + 2 * C * N a position
        ('Transformer', 7090.471, 2065.043),
        ('MixBlockA', 3506.700, 993.987),
        ('MixBlockB', 3506.700, 993.987),
        ('MixBlockC', 3506.700, 993.987),
        ('Sandwich', 1994.998, 1911.228),
        ('CascadedAttention', 336.380, 265.255),
        ('FFN', 822.084, 822.084),
        ('Depthwise', 7.225, 0.903),
    ],
)
def test_multiply_adds(name, first, last):
    block = find_block(name.lower())
    assert macs(block, STAGES[0]) == pytest.approx(first, abs=1e-3)
    assert macs(block, STAGES[3]) == pytest.approx(last, abs=1e-3)


def test_parts_add_up_to_a_network():
    """Stem, embeddings and blocks have the parameters and multiply-adds of the whole."""
    whole = TRTViT(dict(depths=(1, 1, 1, 1), channels=(64, 64, 96, 128)), 'C-MB-T-M').eval()
    parts = [BLOCKS['Stem'].build(SMALL[0])]
    for stage, name in zip(SMALL, ('BottleNeck', 'MixBlockB', 'Transformer', 'MixBlockC')):
        parts += [BLOCKS['Embedding'].build(stage), BLOCKS[name].build(stage)]
    joined = torch.nn.Sequential(*parts).eval()
    x = torch.empty(1, 3, 64, 96)
    assert joined(x).shape == whole(x)[-1].shape
    counts = [cost_of(each, lambda each=each: each(x), [x]).total for each in (whole, joined)]
    assert counts[0].macs == counts[1].macs and counts[0].parameters == counts[1].parameters


@pytest.mark.parametrize('name', BLOCKS)
def test_the_copy_for_inference_computes_the_same(name):
    block = BLOCKS[name]
    stage = SMALL[block.stages[-1] - 1]
    module = build(block, stage)
    x = torch.randn(2, *block.shape(stage))
    with torch.no_grad():
        fused = block.fuse(module)
        assert {type(each) for each in fused.modules()} & {FastConv, FastLinear}
        torch.testing.assert_close(fused(x), module(x), rtol=1e-4, atol=1e-4)


def test_a_module_by_its_import_path():
    block = find_block(f'{RESNET}(channels, planes=channels // 4)')
    assert macs(block, STAGES[0]) == pytest.approx(218.366, abs=1e-3)
    assert macs(find_block(f'{RESNET}(256, 64)'), STAGES[0]) == macs(block, STAGES[0])
    conv = find_block('torch.nn:Conv2d(channels, 8, (3, 1 + 2), padding=[1, 1], bias=False)')
    assert macs(conv, SMALL[1]) == pytest.approx(64 * 8 * 9 * 8 * 12 / 1e6)


def test_a_module_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / 'mine_here.py').write_text('from torch.nn import Identity as Mine\n')
    monkeypatch.chdir(tmp_path)
    assert macs(find_block('mine_here:Mine'), SMALL[0]) == 0


@pytest.mark.parametrize(
    'name, message',
    [
        ('BotleNeck', 'there is no block BotleNeck. Did you mean BottleNeck'),
        ('no_such_module:Block()', 'no_such_module cannot be imported: No module named'),
        ('torch.nn:Conv2D(1, 1, 1)', 'torch.nn has no class Conv2D. Did you mean Conv2d'),
        ('torch.nn:Conv2d(', 'expected package.module:Class.arguments., but .* is no call'),
        ('torch.nn:a.b(1)', 'the plain name of a class'),
        (f'{RESNET}(channels)', r"missing 1 .* 'planes'. Its signature: Bottleneck\(inplanes: int"),
        (f'{RESNET}(256, print(1))', r'the argument print\(1\) is neither a literal nor made of'),
        (f'{RESNET}(256, 64 // 0)', 'the argument 64 // 0 is neither'),
        (f'{RESNET}(**names)', 'the argument names is neither'),
        ('builtins:dict()', 'is a dict, expected a module of PyTorch'),
        ('torch.nn:Flatten()', 'returns a 2-D tensor: expected one feature map'),
        ('torch.nn:Conv2d(64, 32, 99)', r'at 64x16x24 \(channels x height x width\) cannot be'),
        (
            'torch.nn:Conv2d(33, 32, 1)',
            r'cannot be computed: .*Its signature: Conv2d\(in_channels: int',
        ),
    ],
)
def test_what_is_no_block(name, message):
    with pytest.raises(UserError, match=message):
        build(find_block(name), SMALL[0])


@pytest.mark.parametrize(
    'image, channels, message',
    [
        ((31, 64), (1, 2, 3, 4), 'the image is 31x64: expected at least 32x32'),
        ((64, 64), (1, 2, 3), 'expected one for each stage'),
    ],
)
def test_what_are_no_stages(image, channels, message):
    with pytest.raises(UserError, match=message):
        stages_of(image, channels)


def test_a_width_that_a_block_does_not_take():
    (stage, *_) = stages_of((64, 64), (48, 48, 48, 48))
    with pytest.raises(UserError, match='Transformer at 48x16x16 .* cannot be computed'):
        build(find_block('Transformer'), stage)
