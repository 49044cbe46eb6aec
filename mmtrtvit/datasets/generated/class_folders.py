"""Generated images in one folder for each class, written as a whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .shapes import SPLITS

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, str]]


def write_class_folders(
    root: str | os.PathLike,
    lengths: Sequence[int],
    *,
    draw: Draw,
    classes: Sequence[str],
    marker: str,
    arguments: Mapping[str, Any],
    progress: Callable[[], object] | None = None,
) -> Path:
    """Writes ``training/<class>/*.png`` and ``validation/<class>/*.png``.

    What the same arguments have made before is left as it is.

    Args:
        root: Folder of the data set: absent, empty or made by this function.
        lengths: Number of training and of validation images.
        draw: Makes the image of a number, ``(H, W, 3)``, uint8, BGR, and says its class.
        classes: All of them.
        marker: Name of the file in ``root`` that says how the data set was made.
        arguments: What makes it, ``seed`` among them.
        progress: Called after each image.

    Returns:
        The absolute path of ``root``.

    Raises:
        FileExistsError: If ``root`` holds something else.
    """
    root = Path(root).resolve()
    if root.exists() and any(root.iterdir()):
        if (root / marker).is_file() and json.loads((root / marker).read_text()) == arguments:
            return root
        raise FileExistsError(
            f'{root} holds something else than what is made of {dict(arguments)}; choose another '
            'folder, or remove this one'
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as scratch:
        made = Path(scratch, 'made')
        for split, length in enumerate(lengths):
            folder = made / list(SPLITS)[split]
            for name in classes:  # also for one without an image: folders are what is numbered
                (folder / name).mkdir(parents=True)
            for index in range(length):
                rng = np.random.default_rng([arguments['seed'], split, index])
                image, name = draw(rng, index)
                (folder / name / f'{index:05d}.png').write_bytes(cv2.imencode('.png', image)[1])
                if progress is not None:
                    progress()
        (made / marker).write_text(json.dumps(arguments))
        os.replace(made, root)
    return root
