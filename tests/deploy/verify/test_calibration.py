"""Which images show INT8 its ranges."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mmtrtvit.datasets import make_shapes
from mmtrtvit.deploy.verify.calibration import graph_inputs, training_images
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.predictor import load
from mmtrtvit.errors import UserError


@pytest.fixture(scope='module')
def folder(small_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp('calibration')
    make_shapes(folder / 'data/shapes', 9, val=1, size=(64, 96))
    for name in ('retinanet', 'fpn'):
        for suffix in ('.py', '.pth'):
            shutil.copy(small_models / f'{name}{suffix}', folder)
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize('name', ['retinanet', 'fpn'])
def test_images_are_spread_over_the_training_data(name):
    config = read_config(f'{name}.py')
    everything = training_images(config, 100)
    assert len(everything) == 9 and all('training' in file for file in everything)
    some = training_images(config, 3)
    assert some == [everything[0], everything[4], everything[8]]


def test_a_config_without_training_data():
    config = read_config('fpn.py')
    config.train_dataloader = None
    with pytest.raises(UserError, match='no image to calibrate with.*--calib-dataset-cfg'):
        training_images(config, 3)


@pytest.mark.parametrize('name', ['retinanet', 'fpn'])
def test_inputs_are_those_of_the_test_pipeline(name):
    config = read_config(f'{name}.py')
    predictor = load(config, f'{name}.pth', device='cpu')
    (file,) = training_images(config, 1)
    (batch,) = graph_inputs(predictor, (None, 3, None, None), [file])
    image = predictor.prepare(predictor.read(file))
    height, width = image['data_samples'].img_shape
    assert batch['sizes'].tolist() == [[height, width]]
    pixels = image['inputs'].numpy()[::-1].astype(np.float32)  # RGB
    mean, std = (
        np.array(values).reshape(3, 1, 1)
        for values in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    )
    np.testing.assert_allclose(
        batch['input'][0, :, :height, :width], (pixels - mean) / std, atol=1e-5
    )


def test_inputs_of_a_graph_that_takes_images():
    predictor = load(read_config('retinanet.py'), 'retinanet.pth', device='cpu')
    file = next(Path('data/shapes/images/training').iterdir())
    (batch,) = graph_inputs(predictor, (1, 160, 192, 3), [str(file)])
    image = predictor.prepare(predictor.read(file))['inputs'].numpy()
    assert batch['input'].shape == (1, 160, 192, 3) and batch['input'].dtype == np.uint8
    height, width = image.shape[1:]
    assert (batch['input'][0, :height, :width] == image.transpose(1, 2, 0)).all()
