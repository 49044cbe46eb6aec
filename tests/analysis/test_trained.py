"""Heads and channels of a trained EfficientViT: formulas by hand, and the tool on a small model."""

import csv
import json
import re
import runpy
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmtrtvit.analysis.heads import Similarity, draw, largest_similarities, rows, similarities
from mmtrtvit.analysis.importance import importances, taylor_scores
from mmtrtvit.datasets import make_shape_folders
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.errors import UserError
from mmtrtvit.models import EfficientViT

ROOT = Path(__file__).parents[2]
TINY = dict(channels=(16, 24, 32), depths=(1, 1, 2), heads=(2, 3, 1), kernels=(5, 3, 3))
CONFIG = f"""
_base_ = '{ROOT}/configs/classification/demo_efficientvit_m2.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, {', '.join(f'{key}={TINY[key]}' for key in TINY)})),
    head=dict(in_channels=32))
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
"""


@torch.no_grad()
def randomised(model):
    """As after a training: with bias tables, statistics, and no residual branch of nothing."""
    for name, parameter in model.named_parameters():
        if name.endswith('bias_table'):
            nn.init.normal_(parameter)
        elif name.endswith('norm.weight'):
            nn.init.uniform_(parameter, 0.5, 1)
        elif name.endswith('norm.bias'):
            nn.init.normal_(parameter, std=0.2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    getattr(model, 'backbone', model).train()(torch.randn(4, 3, 96, 96))
    return model.eval()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A user's folder with data, configs and checkpoints, one of them not trained."""
    pytest.importorskip('mmpretrain')
    folder = tmp_path_factory.mktemp('user')
    make_shape_folders(folder / 'data/shape_folders', 8, val=2, size=64)
    alone = CONFIG.replace('backbone=dict(', 'backbone=dict(cascade=False, ')
    for name, text in (('model', CONFIG), ('alone', alone)):
        path = folder / f'{name}.py'
        path.write_text(text)
        config = read_config(path)
        import_host('mmpretrain')
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(config.model)
        torch.save(dict(state_dict=model.state_dict()), folder / f'{name}_untrained.pth')
        torch.save(dict(state_dict=randomised(model).state_dict()), folder / f'{name}.pth')
    return folder


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['analyze.py', *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools/analyze.py'), run_name='__main__')

    return run


# Similarity of heads


def test_the_largest_similarity_by_hand():
    first, second, third = [1.0, 0, 0, 0], [1.0, 1, 0, 0], [0, 0, 2.0, 0]
    maps = torch.tensor([[first, first], [second, first], [third, first]]).view(3, 2, 2, 2)
    torch.testing.assert_close(
        largest_similarities(maps), torch.tensor([[0.5**0.5, 1], [0.5**0.5, 1], [0, 1]])
    )


def test_maps_are_those_of_the_forward_pass():
    """The mean over windows and runs of what each head's own map gives; one head is left out."""
    torch.manual_seed(0)
    model = randomised(EfficientViT(TINY))
    images = torch.randn(2, 2, 3, 224, 160)
    found = {
        each.block: each for each in similarities(model, [lambda x=x: model(x) for x in images])
    }
    assert {name: len(each.heads) for name, each in found.items()} == {
        'stages.0.0': 2,
        'stages.1.3': 3,
    }
    head = model.stages[0][0].attention.branch.attention.heads[0]
    maps, values = head.attend(torch.randn(3, 8, 7, 7), torch.randn(49, 49))
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 49))
    assert values.shape == (3, 49, 8)
    first, second = found['stages.0.0'].heads
    assert first == pytest.approx(second)  # of two heads, each is the other's nearest
    assert 0 < first < 1
    both = similarities(model, [lambda: model(images.flatten(0, 1))])
    assert both[0].heads == pytest.approx(found['stages.0.0'].heads, abs=1e-5)


def test_heads_with_equal_weights_are_alike():
    model = randomised(EfficientViT(TINY, cascade=False))
    attention = model.stages[0][0].attention.branch.attention
    attention.heads[1] = attention.heads[0]
    attention.bias_table.data[1] = attention.bias_table.data[0]
    model.stages[0][0].before = nn.Identity()
    model.stem = nn.Conv2d(3, 16, 16, 16)
    model.stem.weight.data[8:] = model.stem.weight.data[:8]
    model.stem.bias.data[8:] = model.stem.bias.data[:8]
    found = similarities(model, [lambda: model(torch.randn(1, 3, 112, 112))])
    assert found[0].mean == pytest.approx(1, abs=1e-5)
    assert found[1].mean < 0.99


def test_the_figure_and_the_table_of_heads(tmp_path):
    found = dict(one=[Similarity('a', (0.5, 0.7)), Similarity('b', (0.9, 0.9))])
    assert [row[3] for row in rows(found)] == ['similarity', '0.600', '0.900']
    image = cv2.imread(str(draw(found, tmp_path / 'heads.png')))
    assert image.shape[0] > 300 and image.std() > 5
    assert 'similarity of attention heads' in draw(found, tmp_path / 'heads.svg').read_text()


def test_the_tool_for_heads(run, capsys, folder):
    options = '--count', 2, '--out', 'new/heads.svg', '--csv', 'heads.csv', '--json', 'heads.json'
    images = 'data/shape_folders'
    run(
        *('heads', 'model.py', 'model.pth', images, '--against', 'alone.py', 'alone.pth'),
        *options,
        *('--device', 'cpu'),
    )
    out = capsys.readouterr().out
    assert 'written: new/heads.svg' in out and (folder / 'new/heads.svg').stat().st_size > 1000
    content = json.loads((folder / 'heads.json').read_text())
    assert [each['model'] for each in content] == ['model'] * 5 + ['alone'] * 5
    assert len({each['similarity'] for each in content[:5]}) > 1
    assert content[:5] != [dict(each, model='model') for each in content[5:]]
    with (folder / 'heads.csv').open() as file:
        assert [float(row['similarity']) for row in csv.DictReader(file)] == [
            each['similarity'] for each in content
        ]


# Importance of channels


def test_scores_by_hand():
    """Gradients by differences: how the loss changes when a channel shrinks."""
    torch.manual_seed(0)
    model = randomised(EfficientViT(TINY)).double()
    images = torch.randn(2, 2, 3, 64, 64, dtype=torch.double)

    def loss(x):
        return sum(each.square().mean() for each in model(x))

    found = taylor_scores(model, [lambda x=x: loss(x) for x in images])
    assert {key: len(value) for key, value in found.items()} == {
        **{(1, part): width for part, width in zip(('query', 'key', 'value'), (32, 32, 16))},
        **{(2, part): width for part, width in zip(('query', 'key', 'value'), (48, 48, 24))},
        **{(3, part): width for part, width in zip(('query', 'key', 'value'), (32, 32, 64))},
        **{(1, 'ffn'): 64, (2, 'ffn'): 2 * (16 + 24 + 2 * 24), (3, 'ffn'): 2 * (24 + 5 * 32)},
    }
    heads = model.stages[1][-1].attention.branch.attention.heads
    for part, start, channel in (('query', 0, 3), ('key', 16, 5), ('value', 32, 2)):
        norm, at = heads[1].qkv.norm, start + channel
        slopes = []
        for x in images:
            shrunk = []
            for factor in (1 - 1e-5, 1 + 1e-5):
                before = norm.weight[at].item(), norm.bias[at].item()
                with torch.no_grad():
                    norm.weight[at], norm.bias[at] = (value * factor for value in before)
                    shrunk.append(loss(x).item())
                    norm.weight[at], norm.bias[at] = before
            slopes.append((shrunk[1] - shrunk[0]) / 2e-5)
        expected = sum(slope**2 for slope in slopes) / 2
        number = len(found[2, part]) // 3 + channel
        assert found[2, part][number].item() == pytest.approx(expected, rel=1e-3)
    with pytest.raises(UserError, match='gives no batch'):
        taylor_scores(model, [])


def test_what_is_kept():
    scores = {(1, 'query'): torch.tensor([1.0, 2, 3, 4]), (1, 'value'): torch.tensor([9.0, 8])}
    query, value = importances(scores, keep=0.5)
    assert (query.channels, query.score, query.kept) == (4, 2.5, 0.25)
    assert (value.part, value.kept) == ('value', 1)


def test_the_tool_for_importance(run, capsys, folder):
    options = '--batches', 2, '--keep', '0.25', '--out', 'channels.png', '--json', 'channels.json'
    run('importance', 'model.py', 'model.pth', *options, '--device', 'cpu')
    assert 'written: channels.png' in capsys.readouterr().out
    image = cv2.imread(str(folder / 'channels.png'))
    assert image.shape[0] > 300 and image.std() > 5
    content = json.loads((folder / 'channels.json').read_text())
    assert [(each['stage'], each['part']) for each in content] == [
        (stage, part) for stage in (1, 2, 3) for part in ('query', 'key', 'value', 'ffn')
    ]
    assert all(each['score'] > 0 for each in content)
    kept = sum(each['kept'] * each['channels'] for each in content)
    assert kept == pytest.approx(0.25 * sum(each['channels'] for each in content), abs=1)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('heads', 'model.py', 'model_untrained.pth', 'data'), 'bias tables .* are all zero'),
        (('importance', 'model.py', 'model_untrained.pth'), 'bias tables .* are all zero'),
        (('heads', 'model.py', 'none.pth', 'data'), 'none.pth'),
        (('heads', 'none.py', 'model.pth', 'data'), 'none.py'),
        (('heads', 'other.py', 'model.pth', 'data'), 'model.backbone is TRTViT, expected Effic'),
        (('importance', 'larger.py', 'model.pth'), 'checkpoint of another model or config'),
        (('heads', 'model.py', 'model.pth', 'new_folder'), 'new_folder has no images'),
        (('heads', 'model.py', 'model.pth', 'none'), 'none does not exist'),
        (('heads', 'model.py', 'model.pth', 'data', '--device', 'cuda:9'), "device 'cuda:9'"),
        (('importance', 'model.py', 'model.pth', '--keep', '1.5'), 'between 0 and 1'),
        (('importance', 'no_data.py', 'model.pth'), 'no_data.py has no train_dataloader'),
    ],
    ids=str,
)
def test_bad_input(run, capsys, folder, arguments, message):
    (folder / 'new_folder').mkdir(exist_ok=True)
    (folder / 'other.py').write_text(f"_base_ = '{ROOT}/configs/classification/demo_trtvit_a.py'\n")
    (folder / 'larger.py').write_text(
        f"_base_ = '{ROOT}/configs/classification/demo_efficientvit_m2.py'\n"
    )
    (folder / 'no_data.py').write_text(f'{CONFIG}\ntrain_dataloader = None\n')
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    told = f'{stop.value.code}{capsys.readouterr().err}'
    assert stop.value.code and re.search(message, told), told
