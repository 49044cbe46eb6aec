"""Whether an installation works at all: it imports, reads every config and trains one step.

For each pair of packages and Python in CI, by ``make smoke``. Needs pytest beside the packages of
an extra, ``onedl`` or ``openmmlab``, and no network.
"""

import json
import math
from pathlib import Path

import pytest
from mmengine.config import Config

import mmtrtvit
from mmtrtvit.datasets import make_shape_folders, make_shapes
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.runner import train
from mmtrtvit.environment import environment
from mmtrtvit.paths import config_names

# One of each kind, with both families: the config and where its data are below data/.
RUNS = {
    'detector': ('demo/retinanet_trtvit_b.py', 'shapes'),
    'detector of masks': ('demo/mask_rcnn_efficientvit_m2.py', 'shapes'),
    'segmentor': ('demo/fpn_efficientvit_m4.py', 'shapes'),
    'classifier': ('classification/demo_trtvit_a.py', 'shape_folders'),
}

pytestmark = pytest.mark.smoke


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder with ``data/``: few images for each split."""
    folder = tmp_path_factory.mktemp('smoke')
    make_shapes(folder / 'data/shapes', 2, val=2, size=(96, 128))
    make_shape_folders(folder / 'data/shape_folders', 6, val=3, size=64)
    return folder


def test_every_package_is_imported():
    found = environment()
    assert found['mmtrtvit'] == mmtrtvit.__version__
    broken = {name: state for name, state in found.items() if 'cannot be imported' in state}
    assert not broken
    assert 'not installed' not in {found[name] for name in ('torch', 'mmengine', 'mmdet', 'mmseg')}
    assert found['mmcv.ops'] != 'none'


def test_every_config_is_read():
    for name in config_names():
        path = mmtrtvit.config_path(name)
        read = Config.fromfile if name.startswith('deploy/') else read_config
        assert read(path), name


@pytest.mark.parametrize('kind', RUNS)
def test_one_step_of_training_and_an_evaluation(kind, data, monkeypatch):
    name, folder = RUNS[kind]
    if folder == 'shape_folders':
        pytest.importorskip('mmpretrain')
    monkeypatch.chdir(data)
    options = {
        'train_cfg.max_epochs': 1,
        'train_dataloader.batch_size': 2,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'val_dataloader.num_workers': 0,
        'default_hooks.logger.interval': 1,
    }
    config = read_config(mmtrtvit.config_path(name), options, work_dir=data / kind)
    result = train(config)
    assert Path(result.checkpoint).is_file()
    rows = [json.loads(line) for line in result.curves.read_text().splitlines()]
    losses = [row['loss'] for row in rows if 'loss' in row]
    assert losses and all(map(math.isfinite, losses))
