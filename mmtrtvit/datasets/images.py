"""Image files, read as a training reads them."""

from pathlib import Path

from PIL import Image

from ..media import IMAGES

EXIF_ORIENTATION = 0x0112


def find_images(folder: Path) -> list[Path]:
    """Returns the image files in a folder and in the folders in it, sorted."""
    return sorted(path for path in folder.rglob('*') if path.suffix.lower() in IMAGES)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns width and height in pixels after the turn that the EXIF data ask for.

    MMCV's and OpenCV's readers turn images that way.
    """
    width, height = image.size
    lies = image.getexif().get(EXIF_ORIENTATION) in (5, 6, 7, 8)
    return (height, width) if lies else (width, height)
