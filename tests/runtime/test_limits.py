"""Inputs and outputs beyond all measure: one image is left out, the others are done."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Detections, Detector
from mmtrtvit.runtime import run as running
from mmtrtvit.runtime.batches import or_bad
from mmtrtvit.runtime.drawing import draw
from mmtrtvit.runtime.legend import Legend
from mmtrtvit.runtime.results import BadImage
from mmtrtvit.runtime.sessions.base import NoMemory, TimedOut


def write(path, level=200):
    cv2.imwrite(str(path), np.full((40, 60, 3), level, np.uint8))
    return path


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_outputs_that_are_not_finite_cost_one_image(bright, tmp_path, monkeypatch, value):
    model = Detector(bright())
    infer = model.session.run

    def sometimes(inputs):
        outputs = infer(inputs)
        outputs['dets'][inputs['input'].max(axis=(1, 2, 3)) > 240] = value
        return outputs

    monkeypatch.setattr(
        model, 'session', SimpleNamespace(run=sometimes, profiles=model.session.profiles)
    )
    files = [write(tmp_path / 'good.png'), write(tmp_path / 'bad.png', 250)]
    result = running.run(model, files, out_dir=tmp_path / 'out', batch_size=2)
    assert result.frames == 1 and 'bad.png: the model gives boxes' in result.skipped[0]
    with pytest.raises(UserError, match='NaN or infinite'):
        model(files[1])


def test_an_image_that_the_graph_has_no_memory_for_costs_one_image(bright, tmp_path, monkeypatch):
    model = Detector(bright())
    infer = model.session.run

    def sometimes(inputs):
        if inputs['input'].max() > 240:
            raise NoMemory('the graph asks for more memory than there is.')
        return infer(inputs)

    monkeypatch.setattr(
        model, 'session', SimpleNamespace(run=sometimes, profiles=model.session.profiles)
    )
    files = [write(tmp_path / f'{level}.png', level) for level in (200, 250, 210)]
    result = running.run(model, files, out_dir=tmp_path / 'out')
    assert result.frames == 2 and '250.png: the graph asks for more memory' in result.skipped[0]
    with pytest.raises(UserError, match='more memory'):
        model(files[1])


def test_a_graph_without_an_end_ends_a_run_with_what_was_done(
    bright, tmp_path, monkeypatch, capsys
):
    model = Detector(bright())
    infer = model.session.run

    def sometimes(inputs):
        if inputs['input'].max() > 240:
            raise TimedOut('end2end.onnx: a run took more than 5 seconds.')
        return infer(inputs)

    monkeypatch.setattr(
        model, 'session', SimpleNamespace(run=sometimes, profiles=model.session.profiles)
    )
    files = [write(tmp_path / f'{level}.png', level) for level in (200, 250, 210)]
    result = running.run(model, files, out_dir=tmp_path / 'out')
    with pytest.raises(UserError) as caught:
        result.report(0.3)
    assert str(caught.value) == (
        'end2end.onnx: a run took more than 5 seconds.\n1 of 3 images are done, their results are '
        f'in {tmp_path}/out'
    )
    assert 'images      1\n' in capsys.readouterr().out
    assert len(json.loads((tmp_path / 'out/predictions.json').read_text())['images']) == 1
    with pytest.raises(TimedOut, match='5 seconds.\n0 of 1 images are done'):
        running.run(model, files[1:2], out_dir=tmp_path / 'none')
    assert not (tmp_path / 'none/predictions.json').exists()


def test_boxes_far_outside_are_drawn():
    for far in (1e30, -1e30, 3e9):
        found = Detections(
            np.array([[-far, -far, far, far]], np.float32),
            np.ones(1, np.float32),
            np.zeros(1, np.int32),
            (40, 60),
            np.ones((1, 4, 4), np.float32),
        )
        assert draw(np.zeros((40, 60, 3), np.uint8), found, Legend(('x',))).shape == (40, 60, 3)


def test_too_little_memory_for_one_drawing_loses_nothing(bright, tmp_path, monkeypatch):
    def cannot(image, *_, **__):
        if image.max() > 240:
            raise MemoryError
        return image

    monkeypatch.setattr(running, 'draw', cannot)
    files = [write(tmp_path / f'{level}.png', level) for level in (200, 250, 210)]
    result = running.run(Detector(bright()), files, out_dir=tmp_path / 'out')
    assert result.frames == 3 and '250.png is predicted, but not drawn' in result.skipped[0]
    assert len(json.loads((tmp_path / 'out/predictions.json').read_text())['images']) == 3
    assert sorted(path.name for path in (tmp_path / 'out/images').iterdir()) == [
        '200.png',
        '210.png',
    ]


def test_opencv_without_memory_is_a_bad_image():
    def fill():
        return np.asarray(cv2.copyMakeBorder(np.zeros((9, 9), np.uint8), 0, 2**30, 0, 2**30, 0))

    assert isinstance(or_bad(fill), BadImage)
