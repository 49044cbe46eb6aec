"""Generated data for classifiers: a shape of :mod:`~.shapes` in each image, in class folders."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from .shapes import CLASSES, SPLITS, draw_scene

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
    arguments = dict(train=train, val=val, size=size, seed=seed)
    root = Path(root).resolve()
    if root.exists() and any(root.iterdir()):
        if (root / MARKER).is_file() and json.loads((root / MARKER).read_text()) == arguments:
            return root
        raise FileExistsError(
            f'{root} holds something else than shapes of {arguments}; choose another folder, or '
            'remove this one'
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as scratch:
        made = Path(scratch, 'shapes')
        for split, length in enumerate((train, val)):
            folder = made / list(SPLITS)[split]
            for name in CLASSES:  # also for one without an image: folders are what is numbered
                (folder / name).mkdir(parents=True)
            for index in range(length):
                rng = np.random.default_rng([seed, split, index])
                image, name = _draw_shape(rng, size)
                (folder / name / f'{index:05d}.png').write_bytes(cv2.imencode('.png', image)[1])
                if progress is not None:
                    progress()
        (made / MARKER).write_text(json.dumps(arguments))
        os.replace(made, root)
    return root


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
