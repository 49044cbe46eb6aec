"""Images from files and arrays: the one reader of checks, conversion, training and runtime.

OpenCV decodes the pixels. The turn that EXIF data ask for is made here, once: OpenCV turns TIFF
files twice, and WebP files in some of its versions only.
"""

import io
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from .errors import UserError
from .image_header import Header, read_header, unturned
from .limits import MAX_PIXELS

ImageSource = str | Path | np.ndarray


def read_image(image: ImageSource) -> np.ndarray:
    """Returns an image as OpenCV reads it.

    A file is turned upright by its EXIF data, grey becomes colour, transparency is dropped, and of
    16 bits the upper 8 are kept. Arrays are treated in the same way.

    Args:
        image: A file, or an array ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``,
            uint8 or uint16, with channels in the order blue, green, red, alpha.

    Returns:
        ``(H, W, 3)``, uint8, BGR.

    Raises:
        UserError: If the file cannot be decoded, or the array is of another kind.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    path = Path(image)
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise UserError(f'{path} {error}') from error


def read_size(path: str | Path) -> tuple[int, int]:
    """Returns width and height in pixels of the image that :func:`read_image` makes of a file.

    Only its header is read.

    Raises:
        UserError: If it is not of a format that is read, or too large.
    """
    try:
        with Path(path).open('rb') as file:
            return checked_header(file).size
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise UserError(f'{path} {error}') from error


def decode(content: bytes) -> np.ndarray:
    """Returns the image that the bytes of a file stand for, as :func:`read_image` does.

    Raises:
        ValueError: If they cannot be decoded. The message continues a sentence that begins with
            the name of the file.
    """
    header = checked_header(io.BytesIO(content))
    data = np.frombuffer(unturned(content, header), np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:  # such as an image of more rows than OpenCV allows
        raise ValueError(f'cannot be decoded: {error.err}.') from error
    if image is None:
        raise ValueError(f'cannot be decoded: this {header.format} file is cut off or damaged.')
    return upright(image, header.orientation)


def checked_header(file: BinaryIO) -> Header:
    """Returns the header of an open image file.

    Raises:
        ValueError: If it is not of a format that is read, or has more than
            :data:`~mmtrtvit.limits.MAX_PIXELS`. The message continues as that of :func:`decode`.
    """
    header = read_header(file)
    if header.width * header.height > MAX_PIXELS:
        width, height = header.size
        raise ValueError(
            f'has {width} x {height} pixels, but at most {MAX_PIXELS // 10**6} megapixels '
            'are taken. Cut it into parts, or shrink it.'
        )
    return header


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Returns an image ``(H, W)`` or ``(H, W, C)``, turned as EXIF's ``orientation`` asks for."""
    if orientation > 4:
        image = cv2.transpose(image)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(
        orientation
    )  # 1: left to right, 0: up to down
    return image if flip is None else cv2.flip(image, flip)


def _unreadable(path: str | Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f'{path} does not exist.')
    return UserError(f'{path} cannot be read: {error.strerror}.')


def _from_array(image: np.ndarray) -> np.ndarray:
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise UserError(
            f'the image has the shape {image.shape}, expected (H, W), (H, W, 1), '
            '(H, W, 3) or (H, W, 4).'
        )
    if not image.size:
        raise UserError(f'the image has the shape {image.shape}: it has no pixels.')
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise UserError(f'the image holds {image.dtype}, expected uint8 or uint16.')
    if channels == 1:
        return cv2.cvtColor(image.reshape(image.shape[:2]), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[..., :3])
