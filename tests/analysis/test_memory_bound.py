"""Shares of run time in memory-bound operators: which operator counts as what, and for whom."""

import csv
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mmtrtvit.analysis.memory_bound import PUBLISHED, _known, blocks_of, memory_bound_times
from mmtrtvit.analysis.networks import build_network
from mmtrtvit.errors import UserError
from mmtrtvit.models import EfficientViT, TRTViT, fuse

TOOL = Path(__file__).parents[2] / 'tools/analyze.py'
MEMORY = 'copies', 'elementwise', 'normalisation'
TINY = dict(channels=(16, 24, 32), depths=(1, 1, 2), heads=(2, 3, 2), kernels=(5, 3, 3))


def times(model, x):
    found = memory_bound_times(model.eval(), lambda: model(x), rounds=1, warmup=1)
    return {each.part: each for each in found}


class Only(nn.Module):
    """A network of one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    'function, kind',
    [
        (lambda x: x @ x, 'products'),
        (lambda x: nn.functional.conv2d(x[None], x[None, None, 0, :3, :3]), 'products'),
        (lambda x: nn.functional.scaled_dot_product_attention(x, x, x), 'products'),
        (lambda x: x.transpose(1, 2).contiguous(), 'copies'),
        (lambda x: torch.cat([x, x]), 'copies'),
        (lambda x: nn.functional.pad(x, (0, 3)), 'copies'),
        (lambda x: x.roll(3, 1), 'copies'),
        (lambda x: x + x, 'elementwise'),
        (lambda x: nn.functional.gelu(x), 'elementwise'),
        (lambda x: x.relu(), 'elementwise'),
        (lambda x: nn.functional.layer_norm(x, x.shape[-1:]), 'normalisation'),
        (lambda x: x.softmax(-1), 'normalisation'),
        (lambda x: nn.functional.avg_pool2d(x, 2), 'other'),
    ],
    ids=range(13),
)
def test_kinds_of_operators(function, kind):
    total = times(Only(function), torch.randn(1, 256, 256))['total']
    spent = {name: getattr(total, name) for name in (*MEMORY, 'products', 'other')}
    assert max(spent, key=spent.get) == kind
    assert sum(spent.values()) == pytest.approx(total.total)
    assert total.share == sum(spent[name] for name in MEMORY) / total.total


@pytest.mark.parametrize(
    'name, kind',
    [
        ('mkldnn_convolution', 'products'),
        ('_scaled_dot_product_flash_attention', 'products'),
        ('_slow_conv2d_forward', 'products'),
        ('cudnn_batch_norm', 'normalisation'),
        ('_batch_norm_impl_index', 'normalisation'),
        ('clamp_min_', 'element-wise'),
        ('_to_copy', 'copies'),
        ('topk', None),
    ],
)
def test_operators_of_other_libraries_are_known_by_their_last_words(name, kind):
    assert _known(name) == kind


@pytest.mark.parametrize('fused', [False, True])
def test_blocks_of_our_networks(fused):
    model = EfficientViT(TINY).eval()
    model = fuse(model) if fused else model
    found = times(model, torch.randn(1, 3, 96, 130))
    assert list(found) == [
        *('stem', 'stages.0.0', *(f'stages.1.{block}' for block in range(4))),
        *(f'stages.2.{block}' for block in range(5)),
        'total',
    ]
    total = found.pop('total')
    assert sum(each.total for each in found.values()) == pytest.approx(total.total)
    assert all(each.products > 0 for each in found.values())
    assert (total.normalisation > 0) and total.copies > 0
    if fused:  # norms are part of convolutions, and only softmax is left of them
        assert not found['stem'].normalisation


def test_what_is_left_between_the_blocks():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    found = memory_bound_times(model, lambda: model(torch.ones(1, 3, 8, 8)) + 1, rounds=1)
    assert [each.part for each in found] == ['0', '1', 'between the stages', 'total']
    assert found[2].elementwise > 0 == found[2].products


@pytest.mark.parametrize(
    'name, some',
    [
        ('swin_tiny_patch4_window7_224', ['layers.1.downsample', 'layers.2.blocks.5']),
        ('deit_tiny_patch16_224', ['blocks.11', 'patch_embed']),
    ],
)
def test_blocks_of_timm(name, some):
    pytest.importorskip('timm')
    model, _, _ = build_network(f'timm:{name}')
    blocks = list(blocks_of(model))
    assert {*some} <= {*blocks} and len(blocks) == len({*blocks})
    with pytest.raises(UserError, match='not on the meta device'):
        memory_bound_times(model, lambda: None)


def test_a_trt_vit_has_attention_among_its_products():
    model = TRTViT(dict(depths=(1, 1, 1, 1), channels=(32, 32, 64, 64)), 'C-C-C-T')
    found = times(model, torch.randn(1, 3, 64, 64))
    assert found['stages.3.2'].normalisation > 0 and found['stages.3.2'].products > 0


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['analyze.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_the_tool(monkeypatch, capsys, tmp_path):
    files = tmp_path / 'm0.csv', tmp_path / 'm0.json'
    options = '--shape', '64x96', '--device', 'cpu', '--rounds', 1
    run(monkeypatch, 'memory', 'efficientvit_m0', *options, '--csv', files[0], '--json', files[1])
    out = capsys.readouterr().out
    assert out.startswith('efficientvit_m0, 1 x 3 x 64 x 96, cpu\n') and PUBLISHED in out
    assert '44.26%' in out and 'stages.2.5' in out
    content = json.loads(files[1].read_text())
    with files[0].open() as file:
        table = [*csv.DictReader(file)]
    assert [row['part'] for row in table] == [row['part'] for row in content]
    assert 0 < float(table[-1]['memory_bound_share']) == content[-1]['memory_bound_share'] < 1


@pytest.mark.parametrize(
    'options, message',
    [
        (('efficientvit_m9',), 'neither a config nor a backbone'),
        (('trtvit_a', '--device', 'cuda:99'), "the device 'cuda:99' cannot be used"),
        (('trtvit_a', '--shape', '16x64', '--device', 'cpu'), '16 x 64'),
        (('trtvit_a', '--rounds', '0'), 'at least 1'),
    ],
)
def test_bad_input(monkeypatch, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, 'memory', *options)
    assert stop.value.code and message in f'{stop.value.code}{capsys.readouterr().err}'
