"""Graphs that resize images, in the runtime, beside those that leave it to the host."""

import numpy as np
import pytest

from mmtrtvit.engine.predictor import load
from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Detector, Segmentor
from mmtrtvit.runtime.results import BadImage
from mmtrtvit.runtime.sessions.base import ShapeLimits

RESIZE = dict(preprocessing=True, resizing=True)


@pytest.fixture(scope='module')
def resizing(exported):
    """A detector, the graph of which resizes."""
    return Detector(exported('retinanet', **RESIZE).work_dir)


@pytest.fixture(scope='module')
def in_pytorch(small_models, images):
    """What a model finds in the images behind mmcv's Resize."""
    return lambda name: load(small_models / f'{name}.py', small_models / f'{name}.pth')(images)


def test_detections_are_those_of_the_model(resizing, in_pytorch, images):
    assert [each.name for each in resizing.session.inputs] == ['input']
    expected = [sample.pred_instances.numpy() for sample in in_pytorch('retinanet')]
    assert sum(map(len, expected)) > 10
    twice = [image for image in images for _ in range(2)]  # several sizes, some in one batch
    results = list(resizing.predict(twice, batch_size=3))
    for result, instances in zip(results, [each for each in expected for _ in range(2)]):
        np.testing.assert_array_equal(result.labels, instances.labels)
        np.testing.assert_allclose(result.boxes, instances.bboxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(result.scores, instances.scores, rtol=0, atol=1e-5)


def test_label_maps_are_those_of_the_model(exported, in_pytorch, images):
    segmentor = Segmentor(exported('fpn', **RESIZE, with_argmax=True).work_dir)
    for result, sample in zip(segmentor.predict(images), in_pytorch('fpn'), strict=True):
        labels = sample.pred_sem_seg.data[0].numpy()
        assert result.labels.shape == labels.shape
        assert (result.labels != labels).mean() < 0.05  # enlarged after the best class was taken


def test_tiles_are_resized_as_images(resizing, images):
    assert len(resizing(images[2], tile=(128, 160))) > 3


class Limited:
    """A session that takes images of some sizes only, as an engine does."""

    def __init__(self, session, least, most):
        self.session = session
        self.backend, self.inputs, self.outputs = 'limited', session.inputs, session.outputs
        self.profiles = ({'input': ShapeLimits((1, *least, 3), (2, *most, 3))},)
        self.seen = []

    def run(self, inputs):
        assert inputs['input'].shape in self.profiles[0]['input']
        self.seen.append(inputs['input'].shape)
        return self.session.run(inputs)


def test_what_the_graph_does_not_take_is_resized_by_the_host(resizing, images):
    """To the size at which the graph has nothing to do."""
    session = Limited(resizing.session, (100, 100), (200, 200))
    detector = Detector(resizing.work_dir.path, session=session)
    for image in images[0], images[2], images[4]:  # taken, too large, too small
        found, expected = detector(image), resizing(image)
        np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=1e-3)
        assert len(found) and found.size == image.shape[:2] and not found.note
    assert session.seen[0] == (1, *images[0].shape)


def test_images_that_a_graph_of_one_size_would_stretch(resizing, images):
    session = Limited(resizing.session, (100, 130), (100, 130))
    detector = Detector(resizing.work_dir.path, session=session)
    results = list(detector.predict(images))
    assert isinstance(results[1], BadImage) and session.seen == [(1, 100, 130, 3)]
    with pytest.raises(UserError, match='resizes images of 130 x 100 pixels or more'):
        detector(images[1])


def test_an_image_that_would_vanish(resizing):
    with pytest.raises(UserError, match='5000 x 1 pixels cannot be resized to .* one side would'):
        resizing(np.zeros((1, 5000, 3), np.uint8))
