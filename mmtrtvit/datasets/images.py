"""Image files of data sets."""

import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import takewhile
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from ..images import checked_header, decode, upright
from ..media import IMAGES

REDUCED = 48  # pixels of each side that are left at least of a JPEG file that is gone through


def find_images(folder: Path) -> list[Path]:
    """Returns the image files in a folder and in the folders in it, sorted.

    Hidden ones are left out, and those in hidden folders.
    """
    return sorted(
        path
        for path in folder.rglob('*')
        if path.suffix.lower() in IMAGES and not is_hidden(path.relative_to(folder))
    )


def is_hidden(path: Path) -> bool:
    """Whether the name of a file or of a folder in its path starts with a dot.

    As what a Mac keeps of each file on a foreign disk (``._a.jpg``), ``.ipynb_checkpoints`` and
    ``.Trash``.
    """
    return any(part.startswith('.') and part != '..' for part in path.parts)


def resolve(name: str, folders: Iterable[Path]) -> Path | None:
    """Finds a file or folder by a path of another machine, None if it is not there.

    The path may have the separators of Windows, and begin with folders that are not here, as
    ``data/images/a.jpg`` for ``images/a.jpg``. Where the first folder is here, it is meant.

    Args:
        name: The path.
        folders: Where it may start, the likeliest first.
    """
    for spelled in (name, name.replace('\\', '/')):
        parts = PurePosixPath(spelled).parts
        for folder in folders:
            for start, part in enumerate(parts):
                found = folder.joinpath(*parts[start:])
                if os.path.exists(found):  # of a name that is too long, too
                    return found
                if part not in ('/', '..') and os.path.exists(folder / part):
                    break
    return None


def by_tail(images: Iterable[Path]) -> Callable[[str], Path | None]:
    """Returns a function that finds an image by a path of another machine.

    It returns the image that has most folders before its name in common with the path, and None
    if there is none of that name, or several are as likely.
    """
    named = defaultdict(list)
    for image in images:
        named[image.name].append(image)

    def find(name: str) -> Path | None:
        parts = PurePosixPath(name.replace('\\', '/')).parts[::-1]

        def common(image: Path) -> int:
            return len([*takewhile(lambda pair: pair[0] == pair[1], zip(image.parts[::-1], parts))])

        found = sorted(named.get(parts[0], ()) if parts else (), key=common)
        clear = len(found) == 1 or found and common(found[-1]) > common(found[-2])
        return found[-1] if clear else None

    return find


def read_whole(content: bytes) -> tuple[tuple[int, int], np.ndarray]:
    """Goes through all pixels of the image that a training reads from a file's bytes.

    Unlike :func:`mmtrtvit.images.read_size`, it notices what is cut off.

    Returns:
        Width and height in pixels, and the image in grey, smaller where that is faster: ``(h, w)``,
        uint8.

    Raises:
        ValueError: If a training could not read it, or it is damaged. The message continues a
            sentence that begins with the name of the file.
    """
    header = checked_header(io.BytesIO(content))
    if header.format != 'JPEG':
        image = decode(content)
        return image.shape[1::-1], cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    try:
        with JpegImageFile(io.BytesIO(content)) as file:  # Image.open takes fewer pixels
            file.draft('L', (REDUCED, REDUCED))  # decodes all, to fewer pixels: 3 times faster
            grey = np.asarray(file.convert('L'))
    except Exception as error:  # Pillow's decoders raise of many kinds
        raise ValueError(f'cannot be decoded: {error}.') from error
    return header.size, upright(grey, header.orientation)
