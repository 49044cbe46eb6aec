"""Image files of data sets."""

import io
from pathlib import Path

from PIL.JpegImagePlugin import JpegImageFile

from ..images import checked_header, decode
from ..media import IMAGES


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


def whole_size(content: bytes) -> tuple[int, int]:
    """Returns width and height in pixels of the image that a training reads from a file's bytes.

    Unlike :func:`mmtrtvit.images.read_size`, it goes through all of the pixels.

    Raises:
        ValueError: If a training could not read it, or it is damaged. The message continues a
            sentence that begins with the name of the file.
    """
    header = checked_header(io.BytesIO(content))
    if header.format != 'JPEG':
        height, width = decode(content).shape[:2]
        return width, height
    try:
        with JpegImageFile(io.BytesIO(content)) as image:  # Image.open takes fewer pixels
            image.draft('L', (1, 1))  # decodes everything, but fewer pixels: three times faster
            image.load()
    except Exception as error:  # Pillow's decoders raise of many kinds
        raise ValueError(f'cannot be decoded: {error}.') from error
    return header.size
