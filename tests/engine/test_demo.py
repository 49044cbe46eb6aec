"""The demo, with a small model and little data."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from mmtrtvit.engine import demo
from mmtrtvit.errors import UserError

SHORT = """
_base_ = '{base}'
train_dataloader = dict(num_workers=0)
val_dataloader = dict(num_workers=0)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
"""


@pytest.fixture
def user(small_models, tmp_path, monkeypatch):
    """The current folder of a user, with short demos of small models."""
    for name in ('retinanet', 'fpn'):
        (tmp_path / f'{name}_short.py').write_text(SHORT.format(base=small_models / f'{name}.py'))
    shutil.copytree(small_models / 'data/shapes', tmp_path / 'other/shapes')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, 'config_path', lambda name: str(tmp_path / name.split('/')[1]))
    return tmp_path


@pytest.fixture
def steps(monkeypatch):
    """Records the commands, of which all but the generation of data are run if asked to."""
    steps = SimpleNamespace(words=[], run=False, code=0)
    run = subprocess.run

    def record(words, **options):
        assert words[:3] == [sys.executable, '-m', 'mmtrtvit']
        steps.words.append(words[3:])
        if steps.run and words[3] != 'make-shapes':
            return run(words, **options)
        return SimpleNamespace(returncode=steps.code)

    monkeypatch.setattr(demo.subprocess, 'run', record)
    return steps


@pytest.mark.slow
def test_a_demo_leaves_images_and_curves(user, steps, capfd):
    with (user / 'retinanet_short.py').open('a') as file:
        file.write('model = dict(test_cfg=dict(score_thr=0.0))\n')  # it has learned little
    steps.run = True
    root = user / 'other/shapes'
    demo.run_demo('retinanet_short', work_dir=user / 'runs', data_root=root)
    assert [words[0] for words in steps.words] == [
        'make-shapes',
        'train',
        'test',
        'analyze',
        'analyze',
    ]
    out = capfd.readouterr().out
    run = user / 'runs/retinanet_short'
    for name in ('report.html', 'images.png', 'curves.png'):
        assert (run / name).stat().st_size > 0 and f'{run / name}   ' in out
    assert len(list((run / 'images').rglob('*.jpg'))) == 3
    assert f'$ mmtrtvit train retinanet_short.py --work-dir {run}' in out


def test_a_label_map_demo_reads_other_data(user, steps):
    demo.run_demo('fpn_short', work_dir=user / 'runs', data_root=user / 'other/shapes')
    train = steps.words[1]
    options = train[train.index('--cfg-options') + 1 :]
    assert options == [
        f'{split}_dataloader.dataset.data_root={user}/other/shapes'
        for split in ('train', 'val', 'test')
    ]


@pytest.mark.parametrize('backbone', ['TRTViT', 'EfficientViT'])
def test_mixed_precision_where_it_pays(user, steps, monkeypatch, backbone):
    config = demo.read_config(user / 'retinanet_short.py')
    config.model.backbone.type = backbone
    monkeypatch.setattr(demo, 'read_config', lambda path: config)
    demo.run_demo('retinanet_short', work_dir=user / 'runs', data_root=user / 'other/shapes')
    assert ('--amp' in steps.words[1]) is (backbone == 'TRTViT')


def test_a_classifier_learns_from_folders(steps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo.run_demo('classifier_efficientvit_m2', work_dir=tmp_path)
    assert steps.words[0] == ['make-shapes', 'data/shape_folders', '--folders']
    assert '--cfg-options' not in steps.words[1] and len(steps.words) == 5


def test_a_step_that_fails_ends_the_demo(user, steps):
    steps.code = 3
    with pytest.raises(SystemExit) as caught:
        demo.run_demo('fpn_short', work_dir=user / 'runs', data_root=user / 'other/shapes')
    assert caught.value.code == 3 and len(steps.words) == 1


def test_a_folder_that_no_option_can_name_is_refused(user, steps):
    with pytest.raises(UserError, match='without spaces'):
        demo.run_demo('fpn_short', work_dir=user, data_root=user / 'my shapes')
    assert not steps.words
