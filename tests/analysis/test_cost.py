"""Costs against numbers worked out by hand, MMEngine's counter and published ones; and the tool."""

import csv
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.registry import MODELS
from torch import nn
from torch.utils import flop_counter

from mmtrtvit.analysis.cost import CPU_ATTENTION, cost_of, stages_of
from mmtrtvit.analysis.networks import build_network
from mmtrtvit.errors import UserError
from mmtrtvit.models import EfficientViT, TRTViT

TOOL = Path(__file__).parents[2] / 'tools/cost.py'
SMALL = {
    TRTViT: dict(depths=(1, 1, 1, 2), channels=(32, 32, 64, 64)),
    EfficientViT: dict(channels=(16, 24, 32), depths=(1, 1, 1), heads=(2, 3, 2), kernels=(5, 3, 3)),
}


def costs(model, *shape, device='cpu'):
    x = torch.zeros(*shape, device=device)
    return cost_of(model.to(device).eval(), lambda: model(x), [x])


def of_network(name, *size):
    model, usual, run = build_network(name)
    x = torch.empty(1, 3, *(size or usual), device='meta')
    return cost_of(model, lambda: run(x), [x])


def test_layers_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5))
    found = costs(model, 2, 3, 3, 3)
    conv, relu, linear = (part for part in found.parts if part.bytes)
    assert (conv.part, relu.part, linear.part) == ('0', '1', '3')
    assert conv.convolution == conv.macs == 2 * 8 * 27 and linear.linear == 2 * 8 * 5
    assert (conv.parameters, relu.parameters, linear.parameters) == (216, 0, 45)
    assert (conv.activations, relu.activations, linear.activations) == (16, 0, 10)
    assert conv.bytes == 4 * (2 * 27 + 216 + 16) and relu.bytes == 4 * 2 * 16
    assert linear.bytes == 4 * (16 + 45 + 10)
    assert conv.intensity == 2 * conv.macs / conv.bytes
    assert found.peak == 4 * (2 * 27 + 2 * 16)  # the image, the map and its ReLU
    assert found.total.macs == conv.macs + linear.macs and found.total.parameters == 261


@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_products_of_attention(device):
    """Of a CPU, PyTorch's own counter may not know them."""
    layer = nn.MultiheadAttention(8, 2, batch_first=True)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            heads = x.unflatten(2, (2, 4)).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(heads, heads, heads)

    found = costs(Model(), 3, 5, 8, device=device)
    assert found.total.attention == found.total.macs == 2 * 3 * 2 * 5 * 5 * 4
    if device == 'cpu' and CPU_ATTENTION not in flop_counter.flop_registry:
        with flop_counter.FlopCounterMode(display=False) as counter, torch.no_grad():
            Model()(torch.zeros(3, 5, 8))
        assert counter.get_total_flops() == 0


@pytest.mark.parametrize('family', SMALL, ids=lambda family: family.__name__)
def test_a_network_without_numbers_counts_the_same(family):
    counted = [costs(family(SMALL[family]), 2, 3, 75, 101, device=name) for name in ('cpu', 'meta')]
    assert counted[0].total.macs == counted[1].total.macs > 0
    assert counted[0].total.attention == counted[1].total.attention > 0
    assert [part.part for part in counted[1].parts][:2] == ['stem', 'stages.0']
    assert counted[1].total.parameters == sum(x.numel() for x in family(SMALL[family]).parameters())


@pytest.mark.parametrize('family', SMALL, ids=lambda family: family.__name__)
def test_mmengine_counts_the_same_but_for_attention(family):
    """Its counter lets the attention of PyTorch pass as nothing, and adds normalisations."""
    model, x = family(SMALL[family]).eval(), torch.zeros(1, 3, 96, 130)
    found = cost_of(model, lambda: model(x), [x]).total
    with torch.no_grad():
        theirs = FlopAnalyzer(model, (x,)).unsupported_ops_warnings(False).by_operator()
    assert theirs['conv'] == found.convolution and theirs.get('linear', 0) == found.linear
    products = theirs.get('matmul', 0) + theirs.get('bmm', 0)
    assert products == (0 if family is TRTViT else found.attention)


def test_padding_of_windows():
    """Windows of 7 over 16 x 16 and 8 x 8 tokens; what is one window has none."""
    arch = dict(channels=(16, 16, 16), depths=(1, 1, 1), heads=(1, 1, 1), kernels=(3,))
    whole = costs(EfficientViT(arch, out_indices=(0,)), 1, 3, 7 * 16, 14 * 16)
    assert whole.total.padding == 0
    model = EfficientViT(arch, out_indices=(0,))
    found = costs(model, 1, 3, 8 * 16, 16 * 16).total
    inside = costs(model, 1, 3, 14 * 16, 21 * 16).total.macs
    outside = costs(model, 1, 3, 7 * 16, 7 * 16).total
    assert 0 < found.padding < found.macs < inside
    windows, tokens = 2 * 3 * 49, 8 * 16
    in_attention = (found.padding / (1 - tokens / windows)) / windows
    rest = (found.macs - found.padding / (1 - tokens / windows)) / tokens
    assert outside.macs == pytest.approx(49 * (in_attention + rest), rel=1e-3)


@pytest.mark.parametrize(
    'name, macs, attention',
    [
        ('mask_rcnn_trtvit_c', 303.84, 7.680),
        ('fpn_trtvit_c', 222.95, 8.053),
        ('retinanet_efficientvit_m4', 157.51, 0.100),
        ('trtvit_c', 5.918, 0.018),
        ('timm:efficientvit_m4', 0.299, 0.004),
    ],
)
def test_numbers_of_networks(name, macs, attention):
    """Published: 294G for the first and 213G for the second, where attention does not count."""
    if name.startswith('timm:'):
        pytest.importorskip('timm')
    total = of_network(name).total
    assert total.macs / 1e9 == pytest.approx(macs, abs=0.006 if macs > 100 else 6e-4)
    assert total.attention / 1e9 == pytest.approx(attention, abs=6e-4)


def test_parts_of_a_detector():
    model, _, _ = build_network('demo/mask_rcnn_efficientvit_m2')
    paths = stages_of(model)
    assert [path for path in paths if path.startswith('backbone')] == [
        'backbone.stem', 'backbone.stages.0', 'backbone.stages.1', 'backbone.stages.2',
    ]  # fmt: skip
    assert {'neck', 'rpn_head', 'roi_head.bbox_head', 'roi_head.mask_head'} <= {*paths}


@pytest.mark.parametrize(
    'name, message',
    [
        ('efficientvit_m9', 'neither a config nor a backbone. Did you mean efficientvit_m'),
        ('timm:efficientvit_m9', 'timm has no model efficientvit_m9. Did you mean'),
        ('deploy/onnxruntime', 'has no model'),
    ],
)
def test_names_that_do_not_exist(name, message):
    if name.startswith('timm:'):
        pytest.importorskip('timm')
    with pytest.raises(UserError, match=message):
        build_network(name)


def test_a_model_that_needs_numbers_to_be_built(tmp_path):
    @MODELS.register_module(force=True)
    class NeedsNumbers(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = torch.linspace(0, 1, 2)[1].item()

    (tmp_path / 'x.py').write_text("model = dict(type='NeedsNumbers')")
    with pytest.raises(UserError, match=r'x\.py: NeedsNumbers cannot be built without numbers'):
        build_network(str(tmp_path / 'x.py'))
    build_network(str(tmp_path / 'x.py'), 'cpu')


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['cost.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_the_tool(monkeypatch, capsys, tmp_path):
    files = tmp_path / 'm0.csv', tmp_path / 'm0.json'
    options = '--shape', '96x128', '--batch', 2, '--csv', files[0], '--json', files[1]
    run(monkeypatch, 'efficientvit_m0', *options)
    out = capsys.readouterr().out
    assert out.startswith('efficientvit_m0, 2 x 3 x 96 x 128, float32\n')
    assert 'stages.2' in out and 'feature maps take ' in out
    content = json.loads(files[1].read_text())
    assert content['height'] == 96 and content['parts'][-1]['part'] == 'total'
    with files[0].open() as file:
        table = [*csv.DictReader(file)]
    assert [row['part'] for row in table] == ['stem', 'stages.0', 'stages.1', 'stages.2', 'total']
    assert int(table[-1]['macs']) == sum(int(row['macs']) for row in table[:-1])
    assert int(table[-1]['macs']) == content['parts'][-1]['macs'] > 0


def test_an_image_that_is_too_small(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, 'trtvit_a', '--shape', '16x64')
    assert stop.value.code and '16 x 64' in f'{stop.value.code}{capsys.readouterr().err}'
