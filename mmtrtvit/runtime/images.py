"""Images from files and arrays, as ``LoadImageFromFile`` of the training pipeline reads them."""

from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from ..limits import MAX_PIXELS

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
    return _from_array(image) if isinstance(image, np.ndarray) else _from_file(Path(image))


def _from_file(path: Path) -> np.ndarray:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}.') from error
    if not data.size:
        raise UserError(f'{path} is empty.')
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:  # such as an image of more pixels than OpenCV allows
        raise UserError(f'{path} cannot be decoded: {error.err}.') from error
    if image is None:
        raise UserError(f'{path} cannot be decoded as an image.')
    check_size(image.shape[1], image.shape[0], path)
    return image


def check_size(width: int, height: int, source: str | Path) -> None:
    """Refuses an image of too many pixels.

    Raises:
        UserError: If it has more than :data:`~mmtrtvit.limits.MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise UserError(
            f'{source} has {width} x {height} pixels, but at most {MAX_PIXELS // 10**6} megapixels '
            'are taken. Cut it into parts, or shrink it.'
        )


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
