"""Evaluations on copies of each image."""

import itertools
import pickle
import shutil

import pytest
from mmengine.config import Config

from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.runner import evaluate
from mmtrtvit.engine.tta import augmented, use_tta
from mmtrtvit.errors import UserError

NUMBERS = itertools.count()


@pytest.fixture
def test(small_models, tmp_path, monkeypatch):
    """Evaluates a small model, by ``change(config)`` with copies: metrics, and what was found."""
    shutil.copytree(small_models, tmp_path / 'models')
    monkeypatch.chdir(tmp_path / 'models')

    def run(name, change=lambda config: None):
        config = read_config(f'{name}.py')
        config.experiment_name = f'tta{next(NUMBERS)}'
        hook = change(config)
        hooks = [hook] if hook else []
        metrics = evaluate(config, f'{name}.pth', out='found.pkl', hooks=hooks)
        with open('found.pkl', 'rb') as file:
            samples = pickle.load(file)
        kept = 'pred_instances', 'pred_sem_seg', 'pred_score'
        return metrics, str([sample[key] for sample in samples for key in kept if key in sample])

    return run


@pytest.mark.parametrize('name', ['retinanet', 'fpn', 'classifier'])
def test_copies_are_merged(name, test):
    metrics, found = test(name, use_tta)
    plain_metrics, plain = test(name)
    assert metrics.keys() == plain_metrics.keys()
    assert found != plain == test(name)[1]


def test_one_copy_is_the_image_itself(test):
    def one(config):
        config.tta_pipeline = augmented(config.test_dataloader.dataset.pipeline, 'x', (1.0,))
        config.tta_pipeline[1]['transforms'][1].pop()  # the flipped one
        return use_tta(config)

    assert test('fpn', one)[0] == pytest.approx(test('fpn')[0])


PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(100, 60), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id',)),
]


def test_six_copies():
    load, copies = augmented(PIPELINE, 'test')
    assert load == PIPELINE[0] and copies['type'] == 'TestTimeAug'
    resizes, flips, (pack,) = copies['transforms']
    assert [step['scale'] for step in resizes] == [(75, 45), (100, 60), (125, 75)]
    assert [step['prob'] for step in flips] == [0, 1]
    assert pack['meta_keys'] == ('img_id', 'flip', 'flip_direction')
    assert PIPELINE[2]['meta_keys'] == ('img_id',)  # as it was


@pytest.mark.parametrize('pipeline', [[], PIPELINE[:2], [PIPELINE[0], PIPELINE[2]]])
def test_another_pipeline_is_refused(pipeline):
    with pytest.raises(UserError, match=r'--tta: test\.pipeline has to load, resize'):
        augmented(pipeline, 'test')


def test_masks_and_other_scopes_are_refused(small_models):
    with pytest.raises(UserError, match='MMDetection merges boxes, but no masks'):
        use_tta(read_config(small_models / 'mask_rcnn.py'))
    with pytest.raises(UserError, match='expected a model of mmdet, mmseg, mmpretrain'):
        use_tta(Config(dict(default_scope='mmpose')))
