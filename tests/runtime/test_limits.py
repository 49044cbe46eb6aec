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
