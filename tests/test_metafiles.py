"""The model index agrees with the configs and the models, and MMEngine finds it in a wheel."""

import csv
import importlib
from pathlib import Path

import mmengine
import pytest
import torch
from mmengine.config import Config
from mmengine.config.utils import _get_cfg_metainfo
from mmengine.registry import DefaultScope

from mmtrtvit.engine.hosts import import_host

ROOT = Path(__file__).parents[1]
INDEX = mmengine.load(ROOT / 'model-index.yml')
METAFILES = [mmengine.load(ROOT / path) for path in INDEX['Import']]
MODELS = [model for metafile in METAFILES for model in metafile['Models']]
DATASETS = {'mmdet': 'COCO', 'mmseg': 'ADE20K', 'mmpretrain': 'ImageNet-1k'}
with (ROOT / 'benchmarks/published/imagenet.csv').open(newline='') as file:
    PUBLISHED = {row['model']: row for row in csv.DictReader(file)}


def test_every_metafile_is_in_the_index():
    assert {ROOT / path for path in INDEX['Import']} == {*ROOT.glob('configs/metafiles/*')}


def test_every_config_has_one_entry():
    names = [model['Name'] for model in MODELS]
    files = [*ROOT.glob('configs/*.py'), *ROOT.glob('configs/classification/*_imagenet.py')]
    assert sorted(names) == sorted(path.stem for path in files)
    assert len(set(names)) == len(names)


def test_collections():
    collections = [part for metafile in METAFILES for part in metafile['Collections']]
    assert {part['Name'] for part in collections} == {'TRT-ViT', 'EfficientViT'}
    assert all(part['Paper']['URL'].startswith('https://arxiv.org/abs/') for part in collections)


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_entry(model):
    """Nothing in an entry is anything but what the config and the model say."""
    model = dict(model)
    if model['Name'].endswith('_imagenet'):
        pytest.importorskip('mmpretrain')
        row = PUBLISHED.get(model['Name'].removesuffix('_imagenet'))
        source = row and row['source'].partition(':')[0]
        wanted = row and {'Top 1 Accuracy': row['published_top1'], 'Source': source}
        assert model.pop('Published', None) == wanted
    assert model.keys() == {'Name', 'In Collection', 'Config', 'Metadata'}
    assert model['Config'].removeprefix('configs/').removeprefix('classification/') == (
        f'{model["Name"]}.py'
    )
    config = Config.fromfile(ROOT / model['Config'])
    family = {'TRTViT': 'TRT-ViT', 'EfficientViT': 'EfficientViT'}[config.model.backbone.type]
    assert model['In Collection'] == family
    import_host(config.default_scope)
    registry = importlib.import_module(f'{config.default_scope}.registry').MODELS
    with DefaultScope.overwrite_default_scope(config.default_scope), torch.device('meta'):
        parameters = registry.build(config.model).parameters()
    units = {'max_epochs': 'Epochs', 'max_iters': 'Iterations'}
    length = {unit: config.train_cfg[key] for key, unit in units.items() if key in config.train_cfg}
    assert model['Metadata'] == {
        'Training Data': DATASETS[config.default_scope],
        **length,
        'Parameters': sum(parameter.numel() for parameter in parameters),
    }


@pytest.mark.parametrize('name', ['retinanet_trtvit_b.py', 'fpn_efficientvit_m5.py'])
def test_mmengine_finds_an_entry_in_the_wheel(installed, name):
    entry = _get_cfg_metainfo(str(installed / 'mmtrtvit'), name)
    assert (installed / 'mmtrtvit/.mim' / entry['Config']).read_text() == (
        ROOT / 'configs' / name
    ).read_text()
