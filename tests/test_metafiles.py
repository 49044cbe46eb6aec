"""The model index agrees with the configs and the models, and MMEngine finds it in a wheel."""

import runpy
from pathlib import Path

import mmengine
import pytest
from mmengine.config import Config
from mmengine.config.utils import _get_cfg_metainfo

ROOT = Path(__file__).parents[1]
INDEX = mmengine.load(ROOT / 'model-index.yml')
METAFILES = [mmengine.load(ROOT / path) for path in INDEX['Import']]
MODELS = [model for metafile in METAFILES for model in metafile['Models']]
ZOO = ROOT / 'docs/model_zoo.md'


def test_every_metafile_is_in_the_index():
    assert {ROOT / path for path in INDEX['Import']} == {*ROOT.glob('configs/metafiles/*')}


@pytest.fixture
def script(monkeypatch):
    """Names of docs/list_models.py."""
    monkeypatch.syspath_prepend(ROOT / 'docs')
    return runpy.run_path(str(ROOT / 'docs/list_models.py'))


def test_every_config_has_one_entry():
    """Models that are trained on public data, detectors, segmentors and classifiers."""
    names = [model['Name'] for model in MODELS]
    paths = [*ROOT.glob('configs/*.py'), *ROOT.glob('configs/classification/*_imagenet.py')]
    assert sorted(names) == sorted(path.stem for path in paths)
    assert len(set(names)) == len(names)


def test_the_model_zoo_is_up_to_date(script):
    assert ZOO.read_text() == script['zoo'](), 'run python docs/list_models.py'


def test_the_model_zoo_has_every_model_and_no_metric_of_ours_without_a_training():
    rows = [line for line in ZOO.read_text().splitlines() if line.startswith('| [')]
    assert len(rows) == len(MODELS) and all(row.endswith(' open |') for row in rows)
    assert not any('Weights' in model or 'Results' in model for model in MODELS)


def test_collections():
    collections = [part for metafile in METAFILES for part in metafile['Collections']]
    assert {part['Name'] for part in collections} == {'TRT-ViT', 'EfficientViT'}
    assert all(part['Paper']['URL'].startswith('https://arxiv.org/abs/') for part in collections)


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_entry(script, model):
    """Nothing in an entry is anything but what the config and the model say."""
    assert model.keys() == {'Name', 'In Collection', 'Config', 'Metadata'}
    path = ROOT / model['Config']
    assert path.stem == model['Name']
    family = {'TRTViT': 'TRT-ViT', 'EfficientViT': 'EfficientViT'}
    config = Config.fromfile(path, import_custom_modules=False)
    assert model['In Collection'] == family[config.model.backbone.type]
    smallest = path.stem.removesuffix('_imagenet').endswith(('_a', '_m0'))
    expected = script['counted'](path, macs=smallest)  # of one size, as each takes a second
    assert model['Metadata'] == {'FLOPs': model['Metadata']['FLOPs'], **expected}


@pytest.mark.parametrize(
    'name',
    ['retinanet_trtvit_b.py', 'fpn_efficientvit_m5.py', 'classification/trtvit_b_imagenet.py'],
)
def test_mmengine_finds_an_entry_in_the_wheel(installed, name):
    entry = _get_cfg_metainfo(str(installed / 'mmtrtvit'), name)
    assert (installed / 'mmtrtvit/.mim' / entry['Config']).read_text() == (
        ROOT / 'configs' / name
    ).read_text()
