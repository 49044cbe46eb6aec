"""Pillow's resizing in NumPy, for models that were trained on images which Pillow made smaller.

OpenCV has no counterpart: Pillow widens its filters when it shrinks an image, so that no pixel is
left out. Weights are whole numbers as in Pillow, and the axes come in the order of Pillow 13, so
that the result is its to the bit. Older releases always resize rows first, which rounds otherwise.
"""

from collections.abc import Callable

import numpy as np

BITS = 22  # of a weight behind the point


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, inner, np.where(x < 2, outer, 0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def _box(x: np.ndarray) -> np.ndarray:
    return ((x > -0.5) & (x <= 0.5)).astype(float)


FILTERS: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    'box': (0.5, _box),
    'bilinear': (1, _triangle),
    'bicubic': (2, _cubic),
    'lanczos': (3, _lanczos),
}  # how far each reaches, in pixels of the smaller image


def resample(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Resizes an image as ``PIL.Image.resize`` does.

    Args:
        image: ``(H, W, C)``, uint8.
        size: Height and width.
        interpolation: One of :data:`FILTERS`.

    Returns:
        ``(height, width, C)``, uint8.
    """
    fewer_rows, fewer_columns = (old - new for old, new in zip(image.shape, size))
    for axis in (0, 1) if fewer_rows > 2 * max(fewer_columns, 0) else (1, 0):
        if image.shape[axis] != size[axis]:
            image = _along(image, axis, size[axis], interpolation)
    return image


def _along(image: np.ndarray, axis: int, size: int, interpolation: str) -> np.ndarray:
    """Resizes one axis."""
    first, weights = _weights(image.shape[axis], size, interpolation)
    last = image.shape[axis] - 1
    shape = [1, 1, 1]
    shape[axis] = size
    total = np.int32(1 << (BITS - 1))
    for index, column in enumerate(weights.T):
        pixels = image.take(np.minimum(first + index, last), axis).astype(np.int32)
        total = total + pixels * column.reshape(shape)
    return (total >> BITS).clip(0, 255).astype(np.uint8)


def _weights(old: int, new: int, interpolation: str) -> tuple[np.ndarray, np.ndarray]:
    """First pixel of the old row for each of the new one, and the weights from there on."""
    reach, function = FILTERS[interpolation]
    scale = old / new
    widening = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    first = np.maximum((centres - reach * widening + 0.5).astype(int), 0)
    end = np.minimum((centres + reach * widening + 0.5).astype(int), old)
    places = first[:, None] + np.arange((end - first).max())
    weights = function((places - centres[:, None] + 0.5) * (1.0 / widening))
    weights[places >= end[:, None]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return first, np.trunc(weights * (1 << BITS) + np.copysign(0.5, weights)).astype(np.int32)
