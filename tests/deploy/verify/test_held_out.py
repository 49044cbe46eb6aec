"""Training images that metrics are measured on while layers of eight bits are chosen."""

import json
import shutil
from pathlib import Path

import pytest

from mmtrtvit.datasets import make_shapes
from mmtrtvit.deploy.verify.calibration import training_images
from mmtrtvit.deploy.verify.held_out import held_out
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.runner import evaluate
from mmtrtvit.errors import UserError


@pytest.fixture(scope='module')
def folder(small_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp('held_out')
    make_shapes(folder / 'data/shapes', 9, val=1, size=(64, 96))
    for name in ('retinanet', 'fpn'):
        for suffix in ('.py', '.pth'):
            shutil.copy(small_models / f'{name}{suffix}', folder)
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize('name, metric', [('retinanet', 'coco/bbox_mAP'), ('fpn', 'mIoU')])
def test_images_that_showed_no_range_are_evaluated(name, metric, tmp_path):
    config = read_config(f'{name}.py')
    seen = training_images(config, 4)
    found = held_out(config, seen=seen, count=3, folder=tmp_path)
    dataset = found.test_dataloader.dataset
    assert dataset.pipeline == config.test_dataloader.dataset.pipeline
    if name == 'retinanet':
        content = json.loads(Path(dataset.ann_file).read_text())
        chosen = {f'data/shapes/images/training/{each["file_name"]}' for each in content['images']}
        assert {each['image_id'] for each in content['annotations']} <= {
            each['id'] for each in content['images']
        }
        assert found.test_evaluator.ann_file == dataset.ann_file
    else:
        files = training_images(config, 100)
        chosen = {files[index] for index in dataset.indices}
    assert len(chosen) == 3 and not chosen & set(seen)
    assert metric in evaluate(found, f'{name}.pth')
    assert 'validation' in str(config.test_dataloader.dataset)  # the config itself did not change


def test_all_images_showed_ranges(tmp_path):
    config = read_config('fpn.py')
    with pytest.raises(UserError, match='all 9 training images show the ranges.* below 9'):
        held_out(config, seen=training_images(config, 9), count=3, folder=tmp_path)


def test_no_metric(tmp_path):
    config = read_config('fpn.py')
    config.test_evaluator = None
    with pytest.raises(UserError, match='fpn.py has no test_evaluator'):
        held_out(config, seen=[], count=3, folder=tmp_path)


def test_no_annotations(tmp_path):
    config = read_config('retinanet.py')
    config.train_dataloader.dataset.ann_file = 'annotations/none.json'
    with pytest.raises(UserError, match='none.json cannot be read'):
        held_out(config, seen=[], count=3, folder=tmp_path)
    segmentor = read_config('fpn.py')
    segmentor.train_dataloader.dataset.data_prefix = dict(img_path='none')
    with pytest.raises(UserError, match='annotations of the training data of .* cannot be read'):
        held_out(segmentor, seen=[], count=3, folder=tmp_path)
    source = Path('data/shapes/annotations/instances_training.json')
    content = json.loads(source.read_text()) | dict(annotations=[])
    source.with_name('empty.json').write_text(json.dumps(content))
    config.train_dataloader.dataset.ann_file = 'annotations/empty.json'
    with pytest.raises(UserError, match='empty.json has no annotation of the 3 images'):
        held_out(config, seen=[], count=3, folder=tmp_path)
