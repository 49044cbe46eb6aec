"""Where the time of a prediction goes."""

import itertools
import time

import pytest
import torch
from torch import nn

from mmtrtvit.analysis.stages import Stopwatch, Way, median_rows, stage_times
from mmtrtvit.engine.predictor import load

STAGES = 'reading', 'preprocessing', 'backbone', 'neck', 'head', 'post-processing'
WITHOUT_NECK = 'upernet'


@pytest.mark.parametrize('name', ['retinanet', 'mask_rcnn', 'upernet', 'classifier'])
def test_stages_of_a_prediction(small_models, monkeypatch, name):
    monkeypatch.chdir(small_models)
    predictor = load(f'{name}.py', f'{name}.pth', 'cpu')
    files = sorted((small_models / 'data/shapes/images/validation').iterdir())
    slow = predictor.model.backbone.register_forward_hook(lambda *_: time.sleep(0.05))
    begin = time.perf_counter()
    times = stage_times(predictor, files)
    spent = 1000 * (time.perf_counter() - begin)
    slow.remove()
    assert list(times) == [each for each in STAGES if each != 'neck' or name != WITHOUT_NECK]
    assert {len(values) for values in times.values()} == {len(files)}
    assert min(times['backbone']) > 50 and min(map(min, times.values())) > 0
    assert sum(map(sum, times.values())) < spent
    assert not any(module._forward_hooks for module in predictor.model.modules())


def test_an_end_after_some_seconds(small_models, monkeypatch):
    monkeypatch.chdir(small_models)
    predictor = load('retinanet.py', 'retinanet.pth', 'cpu')
    files = sorted((small_models / 'data/shapes/images/validation').iterdir())
    times = stage_times(predictor, files, seconds=0)
    assert {len(values) for values in times.values()} == {1}


def test_medians_and_shares():
    rows = median_rows(dict(backbone=[1.0, 3.0, 100.0], head=[1.0]))
    assert rows == [
        ['stage', 'ms', 'share'],
        ['backbone', '3.0', '75%'],
        ['head', '1.0', '25%'],
        ['an image', '4.0', '100%'],
    ]


def test_the_stages_are_the_whole():
    """By a clock that goes on by a second each time it is looked at."""
    watch = Stopwatch()
    watch.clock = itertools.count().__next__

    def predict(pixels):
        watch.begin()
        watch.begin()  # within the other: no stage of its own
        watch.end('layer')
        watch.end('network')
        watch.begin()
        watch.end('head')

    way = Way(lambda path: path, predict, watch)
    expected = dict(read=1000, prepare=1000, network=1000, head=1000, results=2000)
    assert way.run('a.jpg') == way.run('b.jpg') == expected


def test_a_run_that_fails_leaves_nothing_behind():
    watch = Stopwatch()
    module = nn.Linear(2, 2)
    watch.watch(module, 'network')
    way = Way(lambda path: torch.zeros(1, int(path)), module, watch)
    with pytest.raises(RuntimeError):
        way.run('3')
    assert way.run('2')['network'] > 0
