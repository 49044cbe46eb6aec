"""Masks of boxes in whole images, and their run lengths as COCO writes them."""

from typing import Any

import numpy as np

from ..limits import MAX_COORDINATE


def paste(
    cells: np.ndarray, box: np.ndarray, *, size: tuple[int, int], threshold: float
) -> np.ndarray:
    """Pastes the mask of a box into an image, as MMDetection does.

    Args:
        cells: Probabilities of the parts of the box, ``(h, w)``, float32.
        box: Left, top, right and bottom, ``(4,)``, float32.
        size: Height and width of the image.
        threshold: Least probability of a pixel that belongs to the mask.

    Returns:
        ``(H, W)``, bool.
    """
    place, probabilities = _spread(cells, box, size)
    mask = np.zeros(size, bool)
    mask[place] = probabilities >= threshold
    return mask


def join(cells: np.ndarray, boxes: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Makes the cells of a box of those of boxes in it: the greatest probability counts.

    Args:
        cells: Probabilities of the parts of each box, ``(N, h, w)``, float32.
        boxes: Left, top, right and bottom, ``(N, 4)``, float32.
        around: The box that holds all of them.

    Returns:
        ``(h, w)``, float32.
    """
    joined = np.zeros(cells.shape[1:], np.float32)
    scale = np.array(joined.shape[::-1], np.float32) / np.maximum(around[2:] - around[:2], 1e-6)
    for each, box in zip(cells, (boxes - np.tile(around[:2], 2)) * np.tile(scale, 2)):
        place, probabilities = _spread(each, box, joined.shape)
        joined[place] = np.maximum(joined[place], probabilities)
    return joined


def _spread(
    cells: np.ndarray, box: np.ndarray, size: tuple[int, int]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """The pixels of an image that a box can reach, and their probabilities."""
    left, top, right, bottom = box.clip(-MAX_COORDINATE, MAX_COORDINATE)
    rows, columns = _pixels(top, bottom, size[0]), _pixels(left, right, size[1])
    by_row = _weights(rows, top, bottom, cells.shape[0])
    by_column = _weights(columns, left, right, cells.shape[1])
    place = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
    return place, by_row @ cells @ by_column.T


def _pixels(start: float, stop: float, side: int) -> range:
    """Pixels that a box can reach, and one more at each end."""
    first = max(int(np.floor(start)) - 1, 0)
    return range(first, max(min(int(np.ceil(stop)) + 1, side), first))


def _weights(pixels: range, start: float, stop: float, count: int) -> np.ndarray:
    """Weights of the cells of a side at its pixels by linear interpolation, ``(P, count)``."""
    centres = np.arange(pixels.start, pixels.stop, dtype=np.float32) + np.float32(0.5)
    with np.errstate(divide='ignore', invalid='ignore'):
        place = (centres - start) / (stop - start) * 2 - 1  # from -1 to 1 over the box
    place[np.isinf(place)] = 0  # of a box without an extent
    cell = ((place + 1) * count - 1) / 2
    return np.maximum(1 - np.abs(cell[:, None] - np.arange(count, dtype=np.float32)), 0)


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Encodes a mask ``(H, W)``, bool, as COCO's compressed run lengths.

    Returns:
        ``size``, height and width, and ``counts``, the lengths of the runs of zeros and ones in
        turn, column by column, as text.
    """
    pixels = mask.ravel(order='F').view(np.int8)
    return _code(np.flatnonzero(np.diff(pixels, prepend=np.int8(0))), mask.shape)


def label_run_lengths(labels: np.ndarray) -> dict[int, dict[str, Any]]:
    """Encodes a label map ``(H, W)`` as one mask for each label, see :func:`run_lengths`."""
    pixels = labels.ravel(order='F')
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    borders = np.stack([starts, np.append(starts[1:], pixels.size)], axis=1)
    found = pixels[starts]
    return {
        int(label): _code(borders[found == label].ravel(), labels.shape)
        for label in np.unique(found)
    }


def _code(borders: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """Encodes a mask by the pixels where zeros and ones take turns, counted column by column."""
    counts = np.diff(borders[borders < size[0] * size[1]], prepend=0, append=size[0] * size[1])
    return dict(size=list(size), counts=_compressed(counts))


def _compressed(counts: np.ndarray) -> str:
    """Each count as the difference to the one before the last, in groups of five bits."""
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    more = np.ones(len(numbers), bool)
    groups = []
    while more.any():
        bits, numbers = numbers & 31, numbers >> 5
        ends = numbers == np.where(bits & 16, -1, 0)
        groups.append(np.where(more, 48 + bits + 32 * ~ends, 0).astype(np.uint8))
        more &= ~ends
    return np.stack(groups, axis=1).tobytes().replace(b'\0', b'').decode('ascii')
