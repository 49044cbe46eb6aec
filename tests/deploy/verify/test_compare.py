"""Differences of predictions that were made by hand."""

import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from mmtrtvit.deploy.verify.compare import Part, agree, compare, match, merged

BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 20.0, 20.0], [0.0, 0.0, 10.0, 10.0]])


def detections(boxes=BOXES, scores=(0.9, 0.8, 0.7), labels=(0, 1, 2), masks=None):
    instances = InstanceData(bboxes=boxes, scores=torch.tensor(scores), labels=torch.tensor(labels))
    if masks is not None:
        instances.masks = masks
    return BaseDataElement(pred_instances=instances)


def rows(ours, theirs):
    return {each.output: each for each in compare([ours], [theirs])}


def test_the_order_does_not_matter():
    turned = detections(BOXES.flip(0), (0.7, 0.8, 0.9), (2, 1, 0))
    for row in compare([turned], [detections()]):
        assert row.within and row.largest == 0 and row.unmatched == 0


def test_boxes_and_scores_are_measured_apart():
    found = rows(detections(BOXES + 0.005, (0.9, 0.8, 0.71)), detections())
    assert found['boxes (pixels)'].largest == pytest.approx(0.005, abs=1e-5)
    assert found['boxes (pixels)'].count == 12 and found['boxes (pixels)'].within
    assert found['scores'].largest == pytest.approx(0.01, abs=1e-5)
    assert found['scores'].mean == pytest.approx(0.01 / 3, abs=1e-5)
    assert not found['scores'].within


def test_a_missing_and_an_additional_detection_are_unmatched():
    fewer = detections(BOXES[:2], (0.9, 0.8), (0, 1))
    for pair in ((fewer, detections()), (detections(), fewer)):
        assert all(row.unmatched == 1 and not row.within for row in compare([pair[0]], [pair[1]]))


def test_another_class_is_another_detection():
    assert rows(detections(labels=(0, 1, 1)), detections())['scores'].unmatched == 2


def test_boxes_out_of_reach_are_no_pair():
    first, second = match(detections(BOXES + 3).pred_instances, detections().pred_instances)
    assert len(first) == len(second) == 0


def test_no_detections_at_all():
    none = detections(BOXES[:0], (), ())
    rows = compare([none], [none])
    assert all(row.within and row.count == 0 for row in rows) and not agree(rows)
    assert agree([*rows, *compare([detections()], [detections()])])


def test_what_rounding_explains_may_lack_a_partner():
    parts = [Part('boxes', torch.zeros(4), 0.1, unmatched=count, spare=1.5) for count in (3, 0)]
    assert agree(merged(parts))
    parts[1].unmatched = 1
    (row,) = merged(parts)
    assert (row.count, row.unmatched, row.spare) == (8, 4, 3) and not row.within


def test_masks_by_their_overlap():
    masks = torch.zeros(3, 20, 20, dtype=torch.bool)
    masks[:2, :10, :10] = True
    other = masks.clone()
    other[1, 0, 0] = False
    found = rows(detections(masks=masks), detections(masks=other))['masks (1 - IoU)']
    assert found.largest == pytest.approx(0.01) and not found.within


def test_label_maps_by_the_share_of_pixels():
    def sample(labels):
        return BaseDataElement(pred_sem_seg=PixelData(data=labels[None]))

    labels = torch.zeros(100, 200, dtype=torch.long)
    other = labels.clone()
    other[0, 0] = 1
    (row,) = compare([sample(labels)], [sample(other)])
    assert row.largest == 1 / 20000 and row.within
    other[0, :3] = 1
    (row,) = compare([sample(labels)], [sample(other)])
    assert not row.within
