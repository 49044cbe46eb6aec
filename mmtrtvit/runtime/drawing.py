"""Results drawn onto their images."""

from collections.abc import Sequence

import cv2
import numpy as np

from .results import Detections, LabelMap
from .work_dir import WorkDir

FONT = cv2.FONT_HERSHEY_SIMPLEX
NAMED_SHARE = 0.01  # of the image: smaller classes of a label map are drawn without their name


def draw(
    image: np.ndarray, result: Detections | LabelMap, *, names: WorkDir, opacity: float = 0.5
) -> np.ndarray:
    """Draws a result onto its image.

    Args:
        image: ``(H, W, 3)``, uint8, BGR; stays as it is.
        result: Detections or a label map.
        names: Has the names and the colours of the classes.
        opacity: Of masks and label maps.

    Returns:
        An image of the same shape, uint8, BGR. OpenCV has no letters but ASCII.
    """
    kind = _draw_labels if isinstance(result, LabelMap) else _draw_boxes
    return kind(image, result, names, opacity)


def color_of(names: WorkDir, label: int) -> tuple[int, int, int]:
    """Colour of a class, BGR; one of its own where there is no palette."""
    if label < len(names.palette):
        red, green, blue = names.palette[label]
        return blue, green, red
    hue = np.uint8([[[label * 67 % 180, 200, 230]]])  # neighbours far apart
    return tuple(cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist())


def _draw_boxes(
    image: np.ndarray, result: Detections, names: WorkDir, opacity: float
) -> np.ndarray:
    image = image.copy()
    width = max(round(sum(image.shape[:2]) / 800), 1)
    for index in reversed(range(len(result))):  # the best on top
        color = color_of(names, int(result.labels[index]))
        if result.cells is not None:
            mask = result.mask(index)
            image[mask] = _blended(image[mask], color, opacity)
        left, top, right, bottom = (int(round(float(side))) for side in result.boxes[index])
        cv2.rectangle(image, (left, top), (right, bottom), color, width)
        text = f'{names.name(int(result.labels[index]))} {result.scores[index]:.2f}'
        _write(image, text, (left, top), color)
    return image


def _draw_labels(image: np.ndarray, result: LabelMap, names: WorkDir, opacity: float) -> np.ndarray:
    shares = result.shares()
    colors = np.zeros((max(shares) + 1, 3), np.uint8)
    for label in shares:
        colors[label] = color_of(names, label)
    image = _blended(image, colors[result.labels], opacity)
    for label, share in shares.items():
        if share >= NAMED_SHARE:
            _write(image, names.name(label), _middle(result.labels == label), (0, 0, 0))
    return image


def _blended(image: np.ndarray, color: Sequence[int] | np.ndarray, opacity: float) -> np.ndarray:
    return (image * (1 - opacity) + np.asarray(color) * opacity).astype(np.uint8)


def _middle(mask: np.ndarray) -> tuple[int, int]:
    """The pixel, as x and y, that is farthest from the border of a mask ``(H, W)``."""
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return int(x), int(y)


def _write(
    image: np.ndarray, text: str, corner: tuple[int, int], color: tuple[int, int, int]
) -> None:
    """Writes on a plate whose lower left corner is given, as far as the image has room."""
    scale = max(sum(image.shape[:2]) / 2400, 0.4)
    (width, height), base = cv2.getTextSize(text, FONT, scale, 1)
    x = min(max(corner[0], 0), max(image.shape[1] - width, 0))
    y = min(max(corner[1], height + base), image.shape[0])
    cv2.rectangle(image, (x, y - height - base), (x + width, y), color, cv2.FILLED)
    bright = sum(color) > 3 * 128
    cv2.putText(
        image,
        text,
        (x, y - base // 2 - 1),
        FONT,
        scale,
        (0, 0, 0) if bright else (255, 255, 255),
        1,
        cv2.LINE_AA,
    )
