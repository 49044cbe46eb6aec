"""Masks of annotations, decoded once and within limits.

pycocotools and MMDetection trust what they are given: a polygon with ``null`` or with coordinates
of 10^9, or an RLE that is longer than its image, takes all memory or ends the process. Here each
is judged before it is decoded.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..limits import MAX_COORDINATE, MAX_OUTLINE
from .data import Box
from .problems import Problem

SLACK = 2  # pixels by which a mask's box and the box may differ on each side
SAME = 0.5  # IoU of the two above which they are of one object
Found = list[tuple[Problem, str]]


def read_mask(
    segmentation: Any, size: tuple[int, int], *, box: Box, evaluation: bool
) -> tuple[dict[str, Any] | None, Found]:
    """Decodes a mask and compares it with the box of its object.

    Args:
        segmentation: Polygons or RLE, as an annotation in COCO format has them.
        size: Width and height of the image in pixels.
        box: Left, top, right and bottom in pixels.
        evaluation: Whether the COCO metric reads the mask, which takes less than a training.

    Returns:
        The mask as compressed RLE, None if it cannot be used; and what is wrong with it.
    """
    if not segmentation:
        return None, [(Problem.MISSING_MASK, '')]
    try:
        if isinstance(segmentation, dict):
            mask = _from_rle(segmentation, size)
        elif isinstance(segmentation, list):
            mask = _from_polygons(segmentation, size, evaluation)
        else:
            kind = type(segmentation).__name__
            raise _WrongError(Problem.INCOMPLETE, f': segmentation is a {kind}, not polygons')
    except _WrongError as error:
        return None, [error.found]
    found = list(_compare(mask, box, size))
    return mask, found


class _WrongError(Exception):
    def __init__(self, problem: Problem, detail: str = '') -> None:
        super().__init__(detail)
        self.found = problem, detail


def _from_polygons(polygons: list, size: tuple[int, int], evaluation: bool) -> dict[str, Any]:
    width, height = size
    usable = []
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise _WrongError(
                Problem.INCOMPLETE, ': segmentation is not a list of polygons [[x, y, x, y, ...]]'
            )
        kinds = set(map(type, polygon))
        if not kinds <= {int, float}:
            raise _WrongError(Problem.INCOMPLETE, f': segmentation {_foreign(polygon, kinds)}')
        if len(polygon) < 6 or len(polygon) % 2:
            if evaluation and len(polygon) < (5 if polygon is polygons[0] else 4):
                raise _WrongError(Problem.UNMEASURABLE_MASK, f': {len(polygon)} numbers')
            continue  # MMDetection leaves it out
        largest = max(map(abs, polygon))
        if largest > MAX_COORDINATE:
            raise _WrongError(
                Problem.INCOMPLETE, f': segmentation beyond {MAX_COORDINATE:.0f} pixels'
            )
        if not math.isfinite(sum(polygon)):
            raise _WrongError(Problem.INCOMPLETE, ': segmentation with NaN')
        # No side is longer than twice the largest number: few polygons need a closer look.
        if len(polygon) * largest > MAX_OUTLINE and (outline := _outline(polygon)) > MAX_OUTLINE:
            raise _WrongError(
                Problem.INCOMPLETE, f': segmentation with an outline of {outline:.0f} pixels'
            )
        usable.append(polygon)
    if not usable:
        raise _WrongError(Problem.BROKEN_MASK)
    return coco_mask.merge(coco_mask.frPyObjects(usable, height, width))


def _outline(polygon: list) -> float:
    """Returns the length of a polygon in steps of a pixel, as pycocotools walks it."""
    points = np.array(polygon, float).reshape(-1, 2)
    return float(abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _foreign(polygon: list, kinds: set[type]) -> str:
    if kinds == {list}:
        return 'has points [x, y] where MMDetection reads x, y, x, y, ...'
    wrong = next(value for value in polygon if type(value) not in (int, float))
    return f'has {wrong!r:.40} among its numbers'


def _from_rle(rle: dict, size: tuple[int, int]) -> dict[str, Any]:
    counts, given = rle.get('counts'), rle.get('size')
    width, height = size
    if not counts or not given:
        raise _WrongError(Problem.BROKEN_MASK)
    if not isinstance(given, list) or len(given) != 2 or set(map(type, given)) != {int}:
        raise _WrongError(Problem.INCOMPLETE, f': RLE of the size {given!r:.40}')
    if given != [height, width]:
        raise _WrongError(Problem.MASK_SIZE, f': {given[1]} x {given[0]}')
    if isinstance(counts, str):
        runs = _runs(counts)
    elif isinstance(counts, list) and set(map(type, counts)) == {int}:
        if not all(0 <= run <= MAX_COORDINATE**2 for run in (min(counts), max(counts))):
            raise _WrongError(Problem.RLE, ': counts that are negative or too large')
        runs = np.array(counts, np.int64)
    else:
        raise _WrongError(Problem.RLE, ': counts that are neither text nor whole numbers')
    if runs is None or (runs < 0).any():
        raise _WrongError(Problem.RLE, ': text that is no RLE')
    if runs.sum() != width * height:
        raise _WrongError(Problem.RLE, f': {runs.sum()} pixels, but its image has {width * height}')
    if isinstance(counts, str):
        return dict(size=[height, width], counts=counts.encode())
    return coco_mask.frPyObjects(dict(size=[height, width], counts=counts), height, width)


def _runs(text: str) -> np.ndarray | None:
    """Returns the lengths of the runs of a compressed RLE, None if it is none.

    A number has 5 bits in each character, lowest first; the 6th bit says that more follow, and
    the last one's 5th bit is the sign. From the fourth number on, they are differences to the
    number two before.
    """
    try:
        codes = np.frombuffer(text.encode('ascii'), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        return None
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    digit = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if digit.max() > 6:  # more than 32 bits
        return None
    values = np.add.reduceat((codes & 31) << (5 * digit), starts)
    negative = (codes[ends] & 16) > 0
    values[negative] -= 1 << (5 * (digit[ends[negative]] + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _compare(
    mask: dict[str, Any], box: Box, size: tuple[int, int]
) -> Iterator[tuple[Problem, str]]:
    area = int(coco_mask.area(mask))
    if not area:
        yield Problem.EMPTY_MASK, ''
        return
    left, top, width, height = coco_mask.toBbox(mask).tolist()
    own = left, top, left + width, top + height
    inner = max(box[0], 0), max(box[1], 0), min(box[2], size[0]), min(box[3], size[1])
    if max(abs(one - other) for one, other in zip(own, inner)) <= SLACK or _iou(own, inner) >= SAME:
        return
    frame = np.array([[inner[0], inner[1], inner[2] - inner[0], inner[3] - inner[1]]], float)
    inner_rle = coco_mask.frPyObjects(frame, size[1], size[0])
    inside = float(coco_mask.iou([mask], inner_rle, [1])[0, 0])
    place = ', '.join(f'{value:.0f}' for value in (left, top, width, height))
    detail = f': {inside:.0%} of the mask in the box; the box of the mask is {place}'
    yield (Problem.PARTIAL_MASK if inside >= SAME else Problem.OTHER_PLACE), detail


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (areas - common)
