"""Masks are decoded as pycocotools decodes them, and what would end a process is told instead."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmtrtvit.annotations.masks import read_mask
from mmtrtvit.annotations.problems import Problem

SIZE = 80, 60
BOX = (20, 10, 40, 30)
SQUARE = [20, 10, 40, 10, 40, 30, 20, 30]


def bitmap(box=BOX):
    left, top, right, bottom = box
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def runs(mask, order='F'):
    values = mask.ravel(order)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], values])))
    return np.diff(np.concatenate([[0], changes, [values.size]])).tolist()


def compressed(mask):
    return coco_mask.encode(np.asfortranarray(mask))['counts'].decode()


def rle(counts, size=SIZE[::-1]):
    return dict(size=list(size), counts=counts)


def problem_of(segmentation, *, evaluation=False, box=BOX):
    mask, found = read_mask(segmentation, SIZE, box=box, evaluation=evaluation)
    ((problem, detail),) = found
    return problem, detail, mask


@pytest.mark.parametrize(
    'segmentation',
    [
        [SQUARE],
        [[float(value) for value in SQUARE]],
        [SQUARE, [1, 2, 3, 4]],
        rle(runs(bitmap())),
        rle(compressed(bitmap())),
    ],
)
def test_a_sound_mask(segmentation):
    mask, found = read_mask(segmentation, SIZE, box=BOX, evaluation=False)
    assert not found and np.array_equal(coco_mask.decode(mask), bitmap())


@pytest.mark.parametrize('seed', range(8))
def test_a_compressed_rle_of_any_mask(seed):
    random = np.random.default_rng(seed)
    mask = (random.random(SIZE[::-1]) < random.random()).astype(np.uint8)
    mask[0, 0], mask[-1, -1] = seed % 2, 1
    found, problems = read_mask(rle(compressed(mask)), SIZE, box=(0, 0, *SIZE), evaluation=False)
    assert not problems and np.array_equal(coco_mask.decode(found), mask)


@pytest.mark.parametrize(
    'segmentation, problem, detail',
    [
        (None, Problem.MISSING_MASK, ''),
        ([], Problem.MISSING_MASK, ''),
        ('x', Problem.INCOMPLETE, 'is a str'),
        (SQUARE, Problem.INCOMPLETE, 'not a list of polygons'),
        ([[[20, 10], [40, 10], [40, 30]]], Problem.INCOMPLETE, 'points [x, y]'),
        ([[*SQUARE[:-1], None]], Problem.INCOMPLETE, 'None among its numbers'),
        ([[*SQUARE[:-1], '30']], Problem.INCOMPLETE, "'30' among its numbers"),
        ([[*SQUARE[:-1], True]], Problem.INCOMPLETE, 'True among its numbers'),
        ([[*SQUARE[:-1], float('nan')]], Problem.INCOMPLETE, 'NaN'),
        ([[*SQUARE[:-1], 1e9]], Problem.INCOMPLETE, 'beyond 1000000 pixels'),
        ([[*SQUARE[:-1], 10**400]], Problem.INCOMPLETE, 'beyond 1000000 pixels'),
        ([[*SQUARE[:-1], float('-inf')]], Problem.INCOMPLETE, 'beyond 1000000 pixels'),
        ([[1e6, 0, -1e6, 0, 1e6, 3] * 40], Problem.INCOMPLETE, 'outline of'),
        ([[]], Problem.BROKEN_MASK, ''),
        ([[20, 10, 40, 30]], Problem.BROKEN_MASK, ''),
        ([[0.2, 0.2, 0.5, 0.2, 0.5, 0.5]], Problem.EMPTY_MASK, ''),
        ([[20, 10, 40, 10, 30, 10]], Problem.EMPTY_MASK, ''),
        ([[60, 40, 75, 40, 75, 55, 60, 55]], Problem.OTHER_PLACE, '0% of the mask in the box'),
        ([[20, 10, 28, 10, 28, 18, 20, 18]], Problem.PARTIAL_MASK, '100% of the mask'),
        (rle(runs(bitmap(), 'C')), Problem.OTHER_PLACE, 'of the mask in the box'),
        (rle(runs(bitmap()), (60, 81)), Problem.MASK_SIZE, '81 x 60'),
        (rle([10**6, 10**6], (10**6, 10**6)), Problem.MASK_SIZE, '1000000 x 1000000'),
        (rle(runs(bitmap()), ('60', 80)), Problem.INCOMPLETE, 'RLE of the size'),
        (dict(counts='04'), Problem.BROKEN_MASK, ''),
        (rle([*runs(bitmap()), 500]), Problem.RLE, '5300 pixels, but its image has 4800'),
        (rle(runs(bitmap())[:-1]), Problem.RLE, 'but its image has 4800'),
        (rle([-5, 4805]), Problem.RLE, 'negative'),
        (rle([1.5, 4798.5]), Problem.RLE, 'neither text nor whole numbers'),
        (rle('this is no RLE'), Problem.RLE, 'text that is no RLE'),
        (rle('oooooooooooooo1'), Problem.RLE, 'text that is no RLE'),
        (rle('é'), Problem.RLE, 'text that is no RLE'),
        (rle(compressed(bitmap())[:-1]), Problem.RLE, ''),
    ],
)
def test_what_is_wrong_with_a_mask(segmentation, problem, detail):
    found, told, mask = problem_of(segmentation)
    assert found is problem and detail in told
    assert (mask is None) == (
        found not in (Problem.OTHER_PLACE, Problem.PARTIAL_MASK, Problem.EMPTY_MASK)
    )


@pytest.mark.parametrize('polygons', [[[]], [[20, 10, 40, 30]], [[20, 10, 40, 30], SQUARE]])
def test_the_metric_takes_no_polygon_of_two_points_first(polygons):
    assert problem_of(polygons, evaluation=True)[0] is Problem.UNMEASURABLE_MASK
    with pytest.raises(Exception, match='not supported|incorrect type'):
        coco_mask.merge(coco_mask.frPyObjects(polygons, *SIZE[::-1]))
    mask, found = read_mask([SQUARE, [1, 2, 3, 4]], SIZE, box=BOX, evaluation=True)
    assert mask and not found


def test_a_mask_over_the_border_is_compared_with_the_part_of_its_box_inside():
    box, polygon = (-30, 10, 20, 30), [-30, 10, 20, 10, 20, 30, -30, 30]
    mask, found = read_mask([polygon], SIZE, box=box, evaluation=False)
    assert not found and coco_mask.area(mask) == 20 * 20
