"""Images too large to be drawn as they are."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmtrtvit.datasets.inspection import drawing


@pytest.fixture(autouse=True)
def limit(monkeypatch):
    monkeypatch.setattr(drawing, 'DRAWN_PIXELS', 20 * 10)


def test_boxes_and_masks_shrink_with_their_image():
    mask = np.zeros((1, 40, 80), bool)
    mask[0, 8:24, 20:60] = True
    sample = DetDataSample(
        gt_instances=InstanceData(
            bboxes=torch.tensor([[20.0, 8, 60, 24]]), labels=torch.tensor([1]), masks=mask
        )
    )
    assert drawing.shrink(np.zeros((40, 80, 3), np.uint8), sample).shape == (10, 20, 3)
    found = sample.gt_instances
    assert found.bboxes.tolist() == [[5, 2, 15, 6]] and found.labels.tolist() == [1]
    assert found.masks.shape == (1, 10, 20) and found.masks[0, 2:6, 5:15].all()
    assert found.masks.sum() == 40


def test_label_maps_shrink_with_their_image():
    labels = torch.zeros(1, 40, 80, dtype=torch.uint8)
    labels[0, :, 40:] = 3
    sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
    assert drawing.shrink(np.zeros((40, 80, 3), np.uint8), sample).shape == (10, 20, 3)
    found = sample.gt_sem_seg.data
    assert found.shape == (1, 10, 20) and found[0, 0, 9:11].tolist() == [0, 3]


def test_small_images_stay():
    pixels = np.zeros((10, 20, 3), np.uint8)
    assert drawing.shrink(pixels, DetDataSample()) is pixels
