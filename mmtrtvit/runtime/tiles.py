"""Tiles: large images in overlapping parts, whose results are merged into one."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .results import Detections, LabelMap

BORDER = 2  # pixels from the border of a tile at which a box counts as cut
COVERED = 0.5  # share of a cut box that another tile's box must cover to replace it


class Tile(NamedTuple):
    """A part of an image, in pixels; the ends do not belong to it."""

    top: int
    left: int
    bottom: int
    right: int


def tiles_of(size: tuple[int, int], tile: tuple[int, int], overlap: float) -> list[Tile]:
    """Covers an image with the fewest tiles of one size, spread evenly.

    Args:
        size: Height and width of the image.
        tile: Height and width of a tile; no more than the image's are used.
        overlap: Least share of a tile that its neighbour has, too.

    Raises:
        UserError: If a tile has no pixels, or the overlap is not between 0 and 1.
    """
    if min(tile) < 1:
        raise UserError(f'the tile is {tile[1]} x {tile[0]} pixels, expected at least 1 x 1.')
    if not 0 <= overlap < 1:
        raise UserError(f'the overlap is {overlap:g}, expected 0 or more and less than 1.')
    rows, columns = (_starts(side, min(part, side), overlap) for side, part in zip(size, tile))
    height, width = (min(part, side) for side, part in zip(size, tile))
    return [Tile(top, left, top + height, left + width) for top in rows for left in columns]


def _starts(side: int, part: int, overlap: float) -> list[int]:
    step = max(int(part * (1 - overlap)), 1)
    count = 1 + math.ceil((side - part) / step)
    return [round(index * (side - part) / max(count - 1, 1)) for index in range(count)]


def merge_detections(
    results: Sequence[Detections],
    tiles: Sequence[Tile],
    *,
    size: tuple[int, int],
    iou_threshold: float,
) -> Detections:
    """Makes one result of those of all tiles, by NMS of each class.

    What a border between tiles cuts is only seen in part. Such a box comes after all others, and
    goes if one from another tile covers more than half of it.

    Args:
        results: Of each tile, in its own pixels.
        tiles: The tiles.
        size: Height and width of the image.
        iou_threshold: Of NMS.
    """
    first = results[0]
    found = Detections(
        boxes=np.concatenate(
            [
                result.boxes + np.array([tile.left, tile.top] * 2, np.float32)
                for result, tile in zip(results, tiles)
            ]
        ),
        scores=np.concatenate([result.scores for result in results]),
        labels=np.concatenate([result.labels for result in results]),
        size=size,
        cells=None if first.cells is None else np.concatenate([each.cells for each in results]),
        mask_threshold=first.mask_threshold,
        note=_notes(results),
    )
    origin = np.repeat(np.arange(len(tiles)), [len(result) for result in results])
    cut = np.concatenate([_cut(result.boxes, tile, size) for result, tile in zip(results, tiles)])
    area = _area(found.boxes)
    order = np.lexsort((-found.scores, cut))
    kept = []
    while len(order):
        index, order = order[0], order[1:]
        kept.append(index)
        shared = _intersection(found.boxes[index], found.boxes[order])
        same = shared > iou_threshold * (area[index] + area[order] - shared)
        part = cut[order] & (origin[order] != origin[index]) & (shared > COVERED * area[order])
        order = order[~((found.labels[order] == found.labels[index]) & (same | part))]
    return found[np.array(sorted(kept, key=lambda index: -found.scores[index]), np.intp)]


def merge_label_maps(
    results: Sequence[LabelMap], tiles: Sequence[Tile], size: tuple[int, int]
) -> LabelMap:
    """Makes one label map of those of all tiles: where two overlap, each has its half."""
    labels = np.zeros(size, np.result_type(*(result.labels for result in results)))
    rows = _seams(sorted({(tile.top, tile.bottom) for tile in tiles}))
    columns = _seams(sorted({(tile.left, tile.right) for tile in tiles}))
    for result, tile in zip(results, tiles):
        top, bottom = rows[tile.top]
        left, right = columns[tile.left]
        labels[top:bottom, left:right] = result.labels[
            top - tile.top : bottom - tile.top, left - tile.left : right - tile.left
        ]
    return LabelMap(labels, _notes(results))


def _seams(spans: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    """The part of each span, by its start, that no neighbour covers better."""
    borders = [(end + start) // 2 for (_, end), (start, _) in zip(spans, spans[1:])]
    firsts, lasts = [spans[0][0], *borders], [*borders, spans[-1][1]]
    return {start: part for (start, _), *part in zip(spans, firsts, lasts)}


def _cut(boxes: np.ndarray, tile: Tile, size: tuple[int, int]) -> np.ndarray:
    """Whether boxes, in pixels of the tile, touch a border of it that is not one of the image."""
    left, top, right, bottom = boxes.T
    return (
        (left < BORDER) & (tile.left > 0)
        | (top < BORDER) & (tile.top > 0)
        | (right > tile.right - tile.left - BORDER) & (tile.right < size[1])
        | (bottom > tile.bottom - tile.top - BORDER) & (tile.bottom < size[0])
    )


def _intersection(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    return np.maximum(sides, 0).prod(axis=1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)


def _notes(results: Sequence[Detections | LabelMap]) -> str:
    return '; '.join(dict.fromkeys(result.note for result in results if result.note))
