"""Agreement of predictions that were made by hand."""

import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from mmtrtvit.deploy.verify.agreement import agreement

BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0], [40.0, 40.0, 50.0, 50.0]])


def found(boxes=BOXES, scores=(0.8, 0.6, 0.1), labels=(0, 1, 2), **more):
    scores, labels = torch.tensor(scores), torch.tensor(labels)
    instances = InstanceData(bboxes=boxes, scores=scores, labels=labels, **more)
    return BaseDataElement(pred_instances=instances)


def maps(labels):
    return BaseDataElement(pred_sem_seg=PixelData(data=labels[None]))


NONE = found(BOXES[:0], (), ())
DETECTIONS = {
    'the same': (found(), 1, 4),
    'moved a little': (found(BOXES + 1), 1, 4),
    'moved by half': (found(BOXES + torch.tensor([5.0, 0, 5, 0])), 0, 4),
    'another weak one': (found(labels=(0, 1, 0)), 1, 4),
    'weak on one side': (found(scores=(0.8, 0.3, 0.1)), 1, 3),
    'another class': (found(labels=(0, 2, 2)), 0.5, 4),
    'one lost': (found(BOXES[:1], (0.8,), (0,)), 2 / 3, 3),
    'all lost': (NONE, 0, 2),
}


@pytest.mark.parametrize('case', DETECTIONS)
def test_detections(case):
    ours, share, count = DETECTIONS[case]
    for pair in ((ours, found()), (found(), ours)):
        result = agreement([pair[0]], [pair[1]], 0.5)
        assert (result.share, result.count) == (pytest.approx(share), count)
        assert result.enough == (share >= 0.5)


def test_every_image_counts_by_its_own_scores():
    weak = found(scores=(0.08, 0.06, 0.01))
    assert agreement([found(), weak], [found(), weak], 1).count == 8
    assert agreement([found(), NONE], [found(), weak], 1).share == pytest.approx(4 / 6)


def test_nothing_is_not_enough():
    result = agreement([NONE], [NONE], 0)
    assert result.count == 0 and not result.enough


def test_masks_have_to_overlap_as_well():
    masks = torch.zeros(3, 60, 60, dtype=torch.bool)
    masks[0, :10, :10] = masks[1, 20:30, 20:30] = True
    other = masks.clone()
    other[1, 20:26] = False  # 40 % of it is left
    result = agreement([found(masks=other)], [found(masks=masks)], 0.5)
    assert (result.share, result.count) == (0.5, 4)


def test_label_maps():
    labels = torch.zeros(10, 100, dtype=torch.long)
    labels[:, 50:] = 1
    other = labels.clone()
    other[:, 50:75] = 0  # class 0: 50 of 75, class 1: 25 of 50
    other[0, 0] = 7  # too little to count
    result = agreement([maps(other)], [maps(labels)], 0.6)
    assert result.share == pytest.approx((499 / 750 + 0.5) / 2) and result.count == 2
    assert not result.enough and agreement([maps(labels)], [maps(labels)], 1).enough


def test_classifiers_share_probability():
    ours, theirs = (
        BaseDataElement(pred_score=torch.tensor(scores)) for scores in ([0.7, 0.3], [0.5, 0.5])
    )
    result = agreement([ours, ours], [theirs, ours], 0.89)
    assert (result.share, result.count) == (pytest.approx(0.9), 2) and result.enough
    assert not agreement([ours], [theirs], 0.9).enough
