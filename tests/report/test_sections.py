"""Parts of a report that depend on what a run left in its folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmtrtvit.deploy.record import write_record
from mmtrtvit.deploy.result import DeployResult
from mmtrtvit.report.blocks import Figure, Links, Table
from mmtrtvit.report.confusion import MOST_CLASSES, count_pairs, show_confusion
from mmtrtvit.report.deployments import RECORD, measured, show_deployments
from mmtrtvit.report.evaluation import LABEL_MAPS, Evaluation, Sample, as_png, from_png
from mmtrtvit.report.label_maps import analyse_pixels
from mmtrtvit.report.page import write_page
from mmtrtvit.report.run import Run, show_training
from mmtrtvit.report.tracked import show_trackers
from mmtrtvit.runtime.legend import Legend


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, None, tmp_path / 'a.py', tmp_path / 'epoch_1.pth')


def test_curves_of_a_metric_that_was_never_defined(run):
    """COCO gives -1 for sizes of which there is no object."""
    rows = [
        dict(loss=2.0, lr=0.1, time=0.5, iter=10, epoch=1, step=10),
        dict(loss=1.0, lr=0.2, time=1.5, iter=20, epoch=1, step=20),
        {'coco/bbox_mAP': 0.25, 'coco/bbox_mAP_l': -1.0, 'time': 0.1, 'step': 1},
    ]
    file = run.folder / '20260101_000000/vis_data/scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text('\n'.join(map(json.dumps, rows)))
    *figures, table = show_training(run).blocks
    assert [each.label for each in figures] == [
        'training loss over the iterations: loss',
        'learning rate over the iterations: lr',
        'validation over the iterations: coco/bbox_mAP',
    ]
    assert table.rows[1] == ['seconds of an iteration, median', '1.000']


def test_what_was_deployed(run):
    detail = dict(
        date='2026-01-01',
        codebase=dict(pth='/runs/epoch_1.pth'),
        settings=dict(backend='onnxruntime', precision='fp32', exporter='dynamo'),
    )
    assert not show_deployments(run)
    for name, text in (('deploy', json.dumps(detail)), ('broken', '{"settings": 3}')):
        (run.folder / name).mkdir()
        Path(run.folder, name, 'detail.json').write_text(text)
    (section,) = show_deployments(run)
    (table,) = section.blocks
    assert ['folder', 'deploy'] in table.rows and ['precision', '"fp32"'] in table.rows


def test_how_a_deployment_compares_and_its_speed(run):
    times = dict(milliseconds=20.0, fastest=19.0, spread=0.1)
    row = dict(output='boxes', count=1200, largest=2e-5, within=False)
    record = dict(
        machine='a processor',
        files={
            'end2end.onnx': dict(
                differences=[row, dict(row, output='masks', largest=None)],
                agreement=dict(count=8, share=0.9, least=0.7, enough=True),
            ),
            'end2end.xml': dict(differences=[row], agreement=None),
        },
        speed=dict(runtime='onnxruntime', precision='int8', fp32=times, lower=times, ratio=2),
    )
    write_record(DeployResult(run.folder / 'end2end.onnx'))  # is read, too
    assert not measured(run.folder)
    (run.folder / RECORD).write_text(json.dumps(record))
    compared, agreed, speed = measured(run.folder)
    assert compared.rows[1:] == [
        ['end2end.onnx: boxes', '1,200', '2.00e-05', 'ok'],  # of lower precision: agreement counts
        ['end2end.onnx: masks', '1,200', '-', 'ok'],
        ['end2end.xml: boxes', '1,200', '2.00e-05', 'differs'],
    ]
    assert agreed.rows[1:] == [['end2end.onnx', '8', '90.0%', '70%']]
    assert speed.rows[2] == ['INT8', '20.0', '10%', '2.00 times as fast']
    assert speed.title == 'timed in onnxruntime on a processor'
    (run.folder / RECORD).write_text('{"files": 3}')
    assert not measured(run.folder)


def test_a_large_confusion_is_a_figure():
    count = MOST_CLASSES + 1
    matrix = np.eye(count, dtype=int) * 4
    matrix[2, 5] = 12
    _, figure, worst = show_confusion(
        matrix, [f'class {index}' for index in range(count)], 'images'
    )
    assert isinstance(figure, Figure) and isinstance(worst, Table)
    assert worst.rows[1:] == [['class 2 → class 5', '12', '75.0%']]


def test_pixels_are_counted_without_the_ignored_ones():
    truth = np.array([[0, 0, 1], [1, 255, 255]], np.uint8)
    found = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    assert np.array_equal(from_png(as_png(truth)), truth)
    sample = Sample('a.png', (2, 3), as_png(truth), as_png(found))
    legend = Legend(('wall', 'door', 'sky'))
    analysis = analyse_pixels(Evaluation(LABEL_MAPS, 'a.pth', legend, {}, [sample]))
    assert analysis.confusion.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert analysis.ious == pytest.approx([(1 / 2 + 2 / 3) / 2])  # the sky is nowhere
    assert analysis.worst == (0, 1) and analysis.mistaken == pytest.approx([1 / 4])
    assert count_pairs(np.array([1]), np.array([0]), 2).tolist() == [[0, 0], [1, 0]]


def test_where_trackers_have_the_run(run, reader):
    assert not show_trackers(run)
    for name, text in (
        ('1', json.dumps(dict(wandb=dict(run='r1', url='https://wandb/r1', look='')))),
        (
            '2',
            json.dumps(dict(aim=dict(run='2', folder='/a', look='aim up'), odd=dict(url='x:y'))),
        ),
        ('3', '[1]'),
        ('4', '{"aim": 3'),
    ):
        (run.folder / name).mkdir()
        Path(run.folder, name, 'trackers.json').write_text(text)
    (section,) = show_trackers(run)
    table, links, code = section.blocks
    assert table.rows[1:] == [['wandb, 1', 'r1', ''], ['aim, 2', '2', '/a'], ['odd, 2', '', '']]
    assert links == Links({'wandb, 1': 'https://wandb/r1'}) and code.text == 'aim up'
    page = reader(write_page('it', [section], run.folder / 'it.html').read_text())
    assert 'https://wandb/r1' in page.links
