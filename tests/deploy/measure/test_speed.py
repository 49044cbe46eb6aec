"""The speed of a file of lower precision beside the one of single precision."""

import pytest

from mmtrtvit.analysis.timing import Timing
from mmtrtvit.deploy.measure import speed
from mmtrtvit.deploy.measure.speed import Speed, measure_speed


class Fake:
    backend = 'onnxruntime'

    def __init__(self, calls, name):
        self.calls, self.name = calls, name

    def run(self, inputs):
        self.calls.append((self.name, inputs['input']))


def test_files_run_in_turn_on_every_image(monkeypatch):
    calls = []
    images = [dict(input=0), dict(input=1)]
    found = measure_speed(Fake(calls, 'fp32'), Fake(calls, 'int8'), images, 'int8')
    assert (found.images, found.rounds, found.runtime) == (2, speed.MOST, 'onnxruntime')
    once = [(name, image) for name in ('fp32', 'int8') for image in (0, 1)]
    assert calls == once * (1 + speed.MOST)
    monkeypatch.setattr(speed, 'SECONDS', 0)
    assert measure_speed(Fake([], 'a'), Fake([], 'b'), images, 'int8').rounds == speed.FEWEST


@pytest.mark.parametrize('milliseconds, slower', [(4.0, False), (16.0, True)])
def test_ratio(milliseconds, slower):
    found = Speed('x', 'int8', Timing(8.0, 8, 0), Timing(milliseconds, 1, 0), images=1, rounds=3)
    assert found.ratio == 8 / milliseconds and found.slower == slower
