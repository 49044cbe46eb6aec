"""Identities of moving shapes, with a stand-in for the detector."""

import json
import sys

import cv2
import numpy as np
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime.legend import Legend
from mmtrtvit.runtime.results import Classification, Detections
from mmtrtvit.runtime.run import run

pytest.importorskip('trackers')
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]  # of the shapes, BGR
FRAMES = 24


class ColorDetector:
    """Finds a box around each colour; of the red shape only with a low score at times."""

    legend = Legend(('shape',))
    info = dict(model='stand-in')

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.count = 0

    def predict(self, images, batch_size=1):
        for image in images:
            boxes, scores = [], []
            for color in COLORS:
                rows, columns = np.nonzero(np.abs(image.astype(int) - color).max(axis=2) < 120)
                if len(rows):
                    boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                    low = color == COLORS[2] and self.count % 5 == 4
                    scores.append(0.2 if low else 0.9)
            order = self.rng.permutation(len(boxes))
            self.count += 1
            yield Detections(
                np.array(boxes, np.float32).reshape(-1, 4)[order],
                np.array(scores, np.float32)[order],
                np.zeros(len(boxes), np.int32),
                image.shape[:2],
            )


def places(index):
    """Left and top of the shapes in a frame."""
    return (4 * index, 10), (108 - 4 * index, 34), (50, 60 + index)


def scene(index):
    """Two shapes that pass each other on two lines, and one that comes down."""
    image = np.zeros((96, 128, 3), np.uint8)
    for color, (left, top) in zip(COLORS, places(index)):
        image[top : top + 14, left : left + 18] = color
    return image


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp('clips') / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (128, 96))
    for index in range(FRAMES):
        writer.write(scene(index))
    writer.release()
    return path


@pytest.fixture(scope='module')
def out(clip):
    result = run(ColorDetector(), [clip], out_dir=clip.parent / 'out', track=True)
    assert result.frames == FRAMES
    return clip.parent / 'out'


def test_identities_do_not_swap(out):
    content = json.loads((out / 'predictions.json').read_text())
    frames = {image['id']: image['frame'] for image in content['images']}
    found = {}
    for each in content['annotations']:
        frame = frames[each['image_id']]
        left, top = each['bbox'][:2]
        (shape,) = [
            shape
            for shape, place in enumerate(places(frame))
            if max(abs(left - place[0]), abs(top - place[1])) < 3
        ]
        found.setdefault(shape, []).append(each.get('track_id'))
    assert {len(ids) for ids in found.values()} == {FRAMES}  # also where the score was low
    ids = [{*shape} - {None} for shape in found.values()]
    assert all(len(each) == 1 for each in ids) and set.union(*ids) == {1, 2, 3}
    assert all(None not in shape[1:] for shape in found.values())


def test_the_file_of_motchallenge(out):
    rows = np.loadtxt(out / 'tracks/clip.txt', delimiter=',')
    assert rows.shape == (3 * (FRAMES - 1), 10) and {*rows[:, 1]} == {1, 2, 3}
    assert {*rows[:, 0]} == {*range(2, FRAMES + 1)} and (rows[:, 7:] == -1).all()
    _, _, left, top, width, height, score = rows[rows[:, 1] == rows[0, 1]][0, :7]
    assert (width, height) == pytest.approx((18, 14), abs=3) and 0 < score <= 1
    assert 0 <= left < 128 and 0 <= top < 96


def test_what_cannot_be_tracked(clip, tmp_path):
    cv2.imwrite(str(tmp_path / 'still.png'), scene(0))
    with pytest.raises(UserError, match='still.png is an image'):
        run(ColorDetector(), [clip, tmp_path / 'still.png'], out_dir=tmp_path / 'out', track=True)
    with pytest.raises(UserError, match='--track and --tile do not go together'):
        run(ColorDetector(), [clip], out_dir=tmp_path / 'out', track=True, tile=(64, 64))
    classifier = ColorDetector()
    classifier.predict = lambda images, batch_size: (
        Classification(np.ones(1, np.float32), image.shape[:2]) for image in images
    )
    with pytest.raises(UserError, match='this model gives classes'):
        run(classifier, [clip], out_dir=tmp_path / 'out', track=True)
    assert not [*tmp_path.glob('out/**/*.*')]


def test_without_the_package(clip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'trackers', None)
    with pytest.raises(UserError, match='pip install "mmtrtvit.track."'):
        run(ColorDetector(), [clip], out_dir=tmp_path, track=True)
