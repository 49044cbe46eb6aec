"""Exported models in the runtime against the same graphs behind MMDetection and MMSegmentation."""

import numpy as np
import pytest

from mmtrtvit.runtime import Detector, Segmentor

DETECTORS = 'retinanet_trtvit_b', 'mask_rcnn_efficientvit_m2'
SEGMENTORS = 'upernet_trtvit_a', 'fpn_efficientvit_m4'


@pytest.mark.parametrize('name', DETECTORS)
def test_detections_are_those_of_the_host(name, exported, pictures):
    model = exported(name)
    expected = [sample.pred_instances.numpy() for sample in model.deployed(pictures)]
    results = list(Detector(model.work_dir).predict(pictures))
    assert any(len(instances) for instances in expected)
    for instances, result, picture in zip(expected, results, pictures, strict=True):
        assert result.size == picture.shape[:2]
        np.testing.assert_array_equal(result.labels, instances.labels)
        np.testing.assert_allclose(result.boxes, instances.bboxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(result.scores, instances.scores, rtol=0, atol=1e-6)
        assert ('masks' in instances) == (result.cells is not None)
        if result.cells is not None:
            assert instances.masks.any()
            assert (result.masks != instances.masks).mean() < 1e-5


@pytest.mark.parametrize('name', SEGMENTORS)
def test_label_maps_are_those_of_the_host(name, exported, pictures):
    model = exported(name)
    expected = [sample.pred_sem_seg.data[0].numpy() for sample in model.deployed(pictures)]
    results = list(Segmentor(model.work_dir).predict(pictures))
    for labels, result in zip(expected, results, strict=True):
        assert result.labels.shape == labels.shape and len(np.unique(labels)) > 1
        assert (result.labels != labels).mean() < 1e-4
