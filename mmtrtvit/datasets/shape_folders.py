"""Generated data for classifiers: a shape of :mod:`~.shapes` in each image, in class folders."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from .shapes import CLASSES, SPLITS, draw_scene

MARKER = 'shape_folders.json'


def make_shape_folders(
    root: str | os.PathLike,
    train: int = 640,
    *,
    val: int = 200,
    size: int | Sequence[int] = 64,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> Path:
    """Writes ``training/<class>/*.png`` and ``validation/<class>/*.png``, all or nothing.

    Equal arguments give equal images. What the same arguments have made before is left as it is.

    Args:
        root: Folder of the data set: absent, empty or made by this function.
        train: Training images.
        val: Validation images.
        size: Height and width of the images in pixels, or one number for both; 64 or more.
        seed: Seed of all random choices.
        progress: Called after each image.

    Returns:
        The absolute path of ``root``.

    Raises:
        ValueError: If the images are too small.
        FileExistsError: If ``root`` holds something else.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 64:
        raise ValueError(f'size must be 64 pixels or more, got {height} x {width}')
    arguments = dict(train=train, val=val, size=[height, width], seed=seed)
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
            for index in range(length):
                rng = np.random.default_rng([seed, split, index])
                image, _, categories = draw_scene(rng, (height, width), (1, 1))
                folder = made / list(SPLITS)[split] / CLASSES[categories[0] - 1]
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f'{index:05d}.png').write_bytes(cv2.imencode('.png', image)[1])
                if progress is not None:
                    progress()
        (made / MARKER).write_text(json.dumps(arguments))
        os.replace(made, root)
    return root
