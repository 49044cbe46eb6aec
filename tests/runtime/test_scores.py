"""Scores of a classifier: the best classes, drawn and written."""

import json

import numpy as np
import pytest

from mmtrtvit.runtime import Scores
from mmtrtvit.runtime.coco import CocoFile
from mmtrtvit.runtime.drawing import draw
from mmtrtvit.runtime.legend import Legend

LEGEND = Legend(tuple('abcdefg'))
SCORES = Scores(np.array([0.1, 0.3, 0.05, 0.2, 0.3, 0.03, 0.02], np.float32), (30, 40))


def test_the_best_classes_come_first():
    assert SCORES.best(3).tolist() == [1, 4, 3]
    assert SCORES.labels.tolist() == [1]


def test_the_best_class_is_written_onto_the_image():
    image = np.full((60, 80, 3), 128, np.uint8)
    drawn = draw(image, SCORES, LEGEND)
    assert (image == 128).all()
    changed = np.argwhere((drawn != 128).any(-1))
    assert changed.min(0).tolist() == [0, 0] and changed.max() < 60


def test_five_classes_of_an_image_are_written(tmp_path):
    with CocoFile.open(tmp_path / 'predictions.json', LEGEND) as file:
        file.add('one.jpg', SCORES)
        file.add('two.jpg', SCORES)
    content = json.loads((tmp_path / 'predictions.json').read_text())
    assert [image['file_name'] for image in content['images']] == ['one.jpg', 'two.jpg']
    assert (content['images'][0]['width'], content['images'][0]['height']) == (40, 30)
    assert [each['category_id'] for each in content['annotations'][:5]] == [2, 5, 4, 1, 3]
    assert {each['image_id'] for each in content['annotations'][:5]} == {1}
    assert len(content['annotations']) == 10 and 'bbox' not in content['annotations'][0]
    assert content['annotations'][0]['score'] == pytest.approx(0.3)
