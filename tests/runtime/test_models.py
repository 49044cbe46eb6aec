"""Exported models in the runtime against the same files behind MMDetection and MMSegmentation."""

import numpy as np
import pytest

from mmtrtvit.runtime import Detector, Segmentor

FIXED = dict(input_shape=(160, 128), dynamic_size=False, dynamic_batch=False)


@pytest.mark.parametrize(
    'name, settings',
    [
        ('retinanet', {}),
        ('mask_rcnn', {}),
        ('retinanet', FIXED),
        ('retinanet', dict(preprocessing=True)),
    ],
)
def test_detections_are_those_of_the_host(name, settings, exported, images):
    model = exported(name, **settings)
    expected = [sample.pred_instances.numpy() for sample in model.host(images)]
    detector = Detector(model.work_dir)
    assert detector.work_dir.classes == ('disc', 'triangle', 'ring')
    results = list(detector.predict(images, batch_size=2))
    assert sum(map(len, expected)) > 10
    for instances, result, image in zip(expected, results, images, strict=True):
        assert result.size == image.shape[:2]
        np.testing.assert_array_equal(result.labels, instances.labels)
        np.testing.assert_allclose(result.boxes, instances.bboxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(result.scores, instances.scores, rtol=0, atol=1e-5)
        assert ('masks' in instances) == (result.cells is not None) == (name == 'mask_rcnn')
        if result.cells is not None:
            assert instances.masks.any()
            assert (result.masks != instances.masks).mean() < 1e-5


@pytest.mark.parametrize(
    'name, settings',
    [('fpn', {}), ('upernet', {}), ('upernet', FIXED), ('upernet', dict(with_argmax=True))],
)
def test_label_maps_are_those_of_the_host(name, settings, exported, images):
    model = exported(name, **settings)
    expected = [sample.pred_sem_seg.data[0].numpy() for sample in model.host(images)]
    results = list(Segmentor(model.work_dir).predict(images))
    for labels, result in zip(expected, results, strict=True):
        assert result.labels.shape == labels.shape and len(np.unique(labels)) > 1
        assert (result.labels != labels).mean() < 1e-4
