"""Generated data for classifiers: a shape of :mod:`~.shapes` in each image, in class folders."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from .class_folders import write_class_folders
from .shapes import CLASSES, draw_scene

MARKER = 'shape_folders.json'
SCENE = 2  # sides of the scene that an image is cut from, in sides of the image
MIN_SIZE = 32
MARGIN = 1.3  # side of the cut, in those of the shape's box


def make_shape_folders(
    root: str | os.PathLike,
    train: int = 640,
    *,
    val: int = 200,
    size: int = 96,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> Path:
    """Writes ``training/<class>/*.png`` and ``validation/<class>/*.png``, all or nothing.

    Equal arguments give equal images. What the same arguments have made before is left as it is.

    Args:
        root: Folder of the data set: absent, empty or made by this function.
        train: Training images.
        val: Validation images.
        size: Height and width of the images in pixels, 32 or more.
        seed: Seed of all random choices.
        progress: Called after each image.

    Returns:
        The absolute path of ``root``.

    Raises:
        ValueError: If the images are too small.
        FileExistsError: If ``root`` holds something else.
    """
    if not isinstance(size, int) or size < MIN_SIZE:
        raise ValueError(f'size must be one number of {MIN_SIZE} pixels or more, got {size}')
    return write_class_folders(
        root,
        (train, val),
        draw=lambda rng, index: _draw_shape(rng, size),
        classes=CLASSES,
        marker=MARKER,
        arguments=dict(train=train, val=val, size=size, seed=seed),
        progress=progress,
    )


def _draw_shape(rng: np.random.Generator, size: int) -> tuple[np.ndarray, str]:
    """Draws a shape that fills most of its image, ``(size, size, 3)``, and returns its class."""
    scene, instances, categories = draw_scene(rng, (SCENE * size, SCENE * size), (1, 1))
    left, top, width, height = cv2.boundingRect((instances == 1).astype(np.uint8))
    side = min(round(MARGIN * max(width, height)), SCENE * size)
    x, y = (
        min(max(start + (length - side) // 2, 0), SCENE * size - side)
        for start, length in ((left, width), (top, height))
    )
    cut = scene[y : y + side, x : x + side]
    image = cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA)
    return image, CLASSES[categories[0] - 1]
