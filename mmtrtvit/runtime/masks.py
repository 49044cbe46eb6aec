"""Masks of boxes in whole images, and their run lengths as COCO writes them."""

from typing import Any

import numpy as np


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
    left, top, right, bottom = box
    rows, columns = _pixels(top, bottom, size[0]), _pixels(left, right, size[1])
    by_row = _weights(rows, top, bottom, cells.shape[0])
    by_column = _weights(columns, left, right, cells.shape[1])
    mask = np.zeros(size, bool)
    mask[rows.start : rows.stop, columns.start : columns.stop] = (
        by_row @ cells @ by_column.T >= threshold
    )
    return mask


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
        turn, column by column, each as the difference to the one before the last, in groups of
        five bits.
    """
    pixels = mask.ravel(order='F')
    borders = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff(np.concatenate([[0], borders, [pixels.size]])).tolist()
    if pixels[0]:
        counts.insert(0, 0)
    text = ''.join(
        _characters(count - counts[index - 2] if index > 2 else count)
        for index, count in enumerate(counts)
    )
    return dict(size=list(mask.shape), counts=text)


def _characters(number: int) -> str:
    characters = ''
    while True:
        bits, number = number & 31, number >> 5
        more = number != (-1 if bits & 16 else 0)
        characters += chr(48 + bits + 32 * more)
        if not more:
            return characters
