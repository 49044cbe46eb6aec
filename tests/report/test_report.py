"""The report: its numbers are those of tools/test.py, and its page needs nothing else."""

import contextlib
import io
import itertools
import re
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mmtrtvit.errors import UserError
from mmtrtvit.report import page, pictures
from mmtrtvit.report.blocks import Section
from mmtrtvit.report.collecting import evaluate_samples
from mmtrtvit.report.evaluation import read_evaluation
from mmtrtvit.report.page import report
from mmtrtvit.report.run import find_run
from mmtrtvit.report.show_scores import find_scores

ROOT = Path(__file__).parents[2]
KINDS = {'retinanet': 'mmdet', 'mask_rcnn': 'mmdet', 'fpn': 'mmseg', 'classifier': 'mmpretrain'}
NUMBERS = itertools.count()


def printed_by(tool, *words):
    """Runs a tool in this process and returns what it printed as metrics."""
    out = io.StringIO()
    options = '--cfg-options', f'experiment_name=r{next(NUMBERS)}'
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, 'argv', [tool, *map(str, words), *options])
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    return dict(re.findall(r'^([\w/]+) +(-?\d+\.\d{4})$', out.getvalue(), re.M))


@pytest.fixture(scope='module', params=KINDS)
def made(request, folder, reader):
    """The report on a work dir, and what tools/report.py and tools/test.py print of it."""
    name = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        printed = {
            'test': printed_by('test.py', f'{name}/{name}.py', name, '--work-dir', 'tested'),
            'report': printed_by('report.py', name, '--images', 2),
        }
    text = (folder / name / 'report.html').read_text(encoding='utf-8')
    return SimpleNamespace(name=name, text=text, page=reader(text), printed=printed)


def test_the_metrics_are_those_of_the_test(made):
    assert made.printed['test'] and made.printed['report'] == made.printed['test']
    for name, value in made.printed['test'].items():
        assert made.page.row(name) == [name, value]


def test_the_classes_make_up_the_metrics(made):
    """Those are counted anew, by other means."""
    metrics = {name: float(value) for name, value in made.printed['test'].items()}
    if made.name == 'classifier':
        assert float(made.page.row('all')[2]) == pytest.approx(metrics['accuracy/top1'], abs=0.006)
        return
    mean = [float(cell) for cell in made.page.row('mean of the classes')[2:]]
    if made.name == 'fpn':
        assert [100 * value for value in mean[:2]] == pytest.approx(
            [metrics['mIoU'], metrics['mAcc']], abs=0.06
        )
        return
    kinds = ['bbox', 'segm'] if made.name == 'mask_rcnn' else ['bbox']
    names = [f'coco/{kind}_mAP{at}' for kind in kinds for at in ('', '_50')]
    assert mean == pytest.approx([metrics[name] for name in names], abs=1e-3)
    assert max(mean) > 0 or made.name == 'mask_rcnn'


def test_it_needs_nothing_else_and_runs_nothing(made):
    assert not {'script', 'link', 'iframe', 'object'} & {*made.page.tags}
    assert made.page.images and all(each.startswith('data:image/') for each in made.page.images)
    assert all(link.startswith('#') for link in made.page.links)
    assert not re.search(r'(?:src|url\()\W*https?:', made.text)


def test_its_anchors_are_there_once(made):
    assert {link[1:] for link in made.page.links} <= {*made.page.ids}
    assert len({*made.page.ids}) == len(made.page.ids)
    contents = {
        'summary',
        'data',
        'training',
        'classes',
        'confusion',
        'images',
        'cost',
        'speed',
        'use',
    }
    assert contents <= {*made.page.ids}


def test_it_tells_of_every_class_and_kind_of_image(made):
    names = ['disc', 'triangle', 'ring']
    assert all(made.page.row(name) for name in names)
    assert {'worst', 'random'} & {*made.page.ids}
    assert 'no */vis_data/scalars.json' in made.page.text  # nothing was trained
    assert ('errors' in made.page.ids) is (KINDS[made.name] == 'mmdet')


def test_a_second_report_evaluates_nothing_anew(made, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr('mmtrtvit.report.collecting.evaluate', None)
    evaluation = _evaluation(made.name)
    assert {f'{value:.4f}' for value in evaluation.metrics.values()} == {
        *made.printed['test'].values()
    }


def test_other_weights_are_evaluated_anew(folder, monkeypatch):
    monkeypatch.chdir(folder)
    called = []
    monkeypatch.setattr('mmtrtvit.report.collecting.evaluate', lambda *_, **__: called.append(1))
    (folder / 'other.pth').write_bytes((folder / 'fpn/epoch_1.pth').read_bytes() + b' ')
    run = find_run('fpn', checkpoint='other.pth')
    with pytest.raises(AttributeError):  # of None instead of metrics
        evaluate_samples(run.config, run.checkpoint, run.folder / 'report')
    assert called


def test_an_image_that_moved_is_told(folder, monkeypatch, reader):
    monkeypatch.chdir(folder)
    evaluation = _evaluation('classifier')
    evaluation.samples = [replace(each, path='gone.jpg') for each in evaluation.samples]
    shown = pictures.show_pictures(evaluation, find_scores(evaluation), 1)
    file = page.write_page('it', [Section('images', 'Images', shown)], 'moved.html')
    text = file.read_text()
    assert 'The image is not there any more' in text and not reader(text).images


def _evaluation(name):
    run = find_run(name)
    return evaluate_samples(run.config, run.checkpoint, run.folder / 'report')


def test_a_page_stays_small():
    """500 validation images make no larger page than 4 times the images of a kind."""
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 3)  # as hard to compress as a photo
    size = len(pictures.inline_image(image, pictures.SIDE))
    assert 4 * 2 * page.IMAGES * size < 15e6
    with pytest.raises(UserError, match=r'--images 99: expected 0 to 24'):
        report('anywhere', images=99)


@pytest.mark.parametrize(
    'work_dir, options, message',
    [
        ('nowhere', {}, 'nowhere: no such folder. Name the work dir of a training'),
        ('data', {}, 'data has no checkpoint: no training got that far there'),
        ('retinanet', dict(checkpoint='no.pth'), 'no.pth: no such checkpoint'),
        ('bare', {}, 'has 0 configs: say which one'),
        ('retinanet', dict(config='no.py'), 'no config file no.py'),
    ],
)
def test_what_is_no_run_is_refused(folder, monkeypatch, work_dir, options, message):
    monkeypatch.chdir(folder)
    (folder / 'bare').mkdir(exist_ok=True)
    shutil.copy(folder / 'fpn/epoch_1.pth', folder / 'bare/epoch_1.pth')
    with pytest.raises(UserError, match=message):
        find_run(work_dir, **options)


def test_weights_of_other_classes_are_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r'(?s)classifier/epoch_1\.pth.*head'):
        report('fpn', checkpoint='classifier/epoch_1.pth')


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_a_checkpoint_runs_no_code(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    weights, marker = tmp_path / 'epoch_2.pth', tmp_path / 'ran'
    torch.save(dict(state_dict={}, meta=Payload(marker)), weights)
    with pytest.raises(UserError, match=r'epoch_2\.pth'):
        report('retinanet', checkpoint=weights)
    assert not marker.exists()
    torch.load(weights, weights_only=False)
    assert marker.exists()  # it would have


def test_a_config_without_validation_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    options = {f'{split}_{part}': None for split in ('val', 'test') for part in ('dataloader',)}
    with pytest.raises(UserError, match='no data to evaluate on: it needs val_dataloader'):
        report('fpn', options=options)


def test_a_damaged_file_of_predictions_is_made_anew(tmp_path):
    (tmp_path / 'evaluation.json').write_text('{"version": 1, "digest": "a", "samples": 3}')
    assert read_evaluation(tmp_path / 'evaluation.json', 'a') is None
    assert read_evaluation(tmp_path / 'none.json', 'a') is None
