"""Tiles: what is found in the overlapping parts of a large image, merged into one result."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .masks import join
from .results import Detections, LabelMap
from .tiling import CUT, Tile

BORDER = 2  # pixels from the border of a tile at which a box counts as cut
SHARED = 0.5  # share of the smaller of two boxes that both have, from which on they are one
LEAST_SCORE = 0.1  # up to it, boxes are too uncertain to let others grow


def merge_detections(
    results: Sequence[Detections],
    tiles: Sequence[Tile],
    *,
    size: tuple[int, int],
    iou_threshold: float = 0.5,
    merge: str = CUT,
    score_thr: float = LEAST_SCORE,
) -> Detections:
    """Makes one result of those of all tiles, class by class.

    From the best box on, each takes in those that are the same by their IoU, and those that may be
    another part of its object and share more than half of the smaller one's area with it: for
    these it grows.

    Args:
        results: Of each tile, in its own pixels.
        tiles: The tiles.
        size: Height and width of the image.
        iou_threshold: IoU of two boxes from which on they are the same.
        merge: Which boxes may be parts of one object: ``'cut'`` for those of two tiles of which one
            is cut by the border of its tile; ``'all'`` for any two, which is what SAHI (Akyon et
            al., 2022) does with ``GREEDYNMM`` and ``IOS``.
        score_thr: Boxes up to this score are taken in without letting the other one grow.
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
    boxes, cells = found.boxes.copy(), found.cells
    cells = None if cells is None else cells.copy()
    origin = np.repeat(np.arange(len(tiles)), [len(result) for result in results])
    cut = np.concatenate([_cut(result.boxes, tile, size) for result, tile in zip(results, tiles)])
    order = np.lexsort((cut, -found.scores))
    kept = []
    while len(order):
        index, order = order[0], order[1:]
        kept.append(index)
        both, smaller, either = _areas(found.boxes[index], found.boxes[order])
        parts = both >= SHARED * smaller
        if merge == CUT:
            parts &= (cut[index] | cut[order]) & (origin[index] != origin[order])
        taken = parts | (both >= iou_threshold * either)
        taken &= (found.labels[order] == found.labels[index]) & (both > 0)
        joined = [index]
        for other in order[taken & parts & (found.scores[order] > score_thr)]:
            both, smaller, _ = _areas(boxes[index], found.boxes[other])
            if both >= SHARED * smaller:
                boxes[index] = _around(boxes[index], found.boxes[other])
                joined.append(other)
        if cells is not None and (boxes[index] != found.boxes[index]).any():
            cells[index] = join(found.cells[joined], found.boxes[joined], boxes[index])
        order = order[~taken]
    return replace(found, boxes=boxes, cells=cells)[np.array(kept, np.intp)]


def _cut(boxes: np.ndarray, tile: Tile, size: tuple[int, int]) -> np.ndarray:
    """Whether boxes, in pixels of the tile, touch a border of it that is not one of the image."""
    left, top, right, bottom = boxes.T
    return (
        (left < BORDER) & (tile.left > 0)
        | (top < BORDER) & (tile.top > 0)
        | (right > tile.right - tile.left - BORDER) & (tile.right < size[1])
        | (bottom > tile.bottom - tile.top - BORDER) & (tile.bottom < size[0])
    )


def _areas(box: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area that a box and each of others have in common, of the smaller one, and of both."""
    sides = np.minimum(box[2:], boxes[..., 2:]) - np.maximum(box[:2], boxes[..., :2])
    one, other = (np.prod(each[..., 2:] - each[..., :2], axis=-1) for each in (box, boxes))
    both = np.maximum(sides, 0).prod(axis=-1)
    return both, np.minimum(one, other), one + other - both


def _around(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.concatenate([np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])])


@dataclass(frozen=True)
class Logits:
    """Logits of a tile.

    Attributes:
        planes: Each class's, ``(h, w)``, float32, in the size of the tile; read once.
        count: How many classes there are.
        note: What was done to the tile that the pipeline does not say, or nothing.
    """

    planes: Iterable[np.ndarray]
    count: int
    note: str = ''


def blend_logits(
    results: Iterable[Logits],
    tiles: Sequence[Tile],
    *,
    size: tuple[int, int],
    label: Callable[[np.ndarray], np.ndarray],
) -> LabelMap:
    """Makes one label map of the logits of all tiles.

    Where tiles overlap, the mean counts, in which a tile weighs the more the farther its border is.
    The logits of one row of tiles are in memory at a time.

    Args:
        results: Of each tile, in their order.
        tiles: The tiles, row by row.
        size: Height and width of the image.
        label: Makes labels ``(h, w)`` of logits ``(C, h, w)``.
    """
    rows = _weights(sorted({(tile.top, tile.bottom) for tile in tiles}), size[0])
    columns = _weights(sorted({(tile.left, tile.right) for tile in tiles}), size[1])
    parts, notes, top = [], [], 0
    sums: np.ndarray = np.zeros((0, 0, 0), np.float32)
    for result, tile in zip(results, tiles):
        if tile.top > top:  # a new row: what is above it is done
            parts.append(label(sums[:, : tile.top - top]))
            sums = sums[:, tile.top - top :]
            top = tile.top
        missing = tile.bottom - top - sums.shape[1]
        if missing:
            more = np.zeros((result.count, missing, size[1]), np.float32)
            sums = np.concatenate([sums, more], axis=1) if sums.size else more
        weights = rows[tile.top][:, None] * columns[tile.left]
        for total, plane in zip(sums, result.planes):
            total[:, tile.left : tile.right] += weights * plane
        notes.append(result)
    parts.append(label(sums))
    return LabelMap(np.concatenate(parts), _notes(notes))


def _weights(spans: Sequence[tuple[int, int]], side: int) -> dict[int, np.ndarray]:
    """The weight of each span, by its start, for its pixels; for each pixel they sum up to 1."""
    weights, total = {}, np.zeros(side, np.float32)
    for start, end in spans:
        inside = np.arange(end - start, dtype=np.float32) + 0.5
        weights[start] = np.minimum(inside, inside[::-1])
        total[start:end] += weights[start]
    return {start: weights[start] / total[start:end] for start, end in spans}


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


def _notes(results: Sequence[Detections | LabelMap | Logits]) -> str:
    return '; '.join(dict.fromkeys(result.note for result in results if result.note))
