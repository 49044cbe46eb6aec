"""Drawing of results onto their images."""

import unicodedata
from collections.abc import Sequence

import cv2
import numpy as np

from ..limits import MAX_COORDINATE
from .legend import Legend
from .results import Classification, Detections, LabelMap, Result

FONT = cv2.FONT_HERSHEY_SIMPLEX
NAMED_SHARE = 0.01  # of the image: smaller classes of a label map are drawn without their name


def draw(
    image: np.ndarray,
    result: Result,
    legend: Legend,
    *,
    opacity: float = 0.5,
    with_names: bool = True,
    with_scores: bool = True,
) -> np.ndarray:
    """Draws a result onto its image.

    Args:
        image: ``(H, W, 3)``, uint8, BGR; stays as it is.
        result: Detections, a label map or a classification.
        legend: Names and colours of the classes.
        opacity: Of masks and label maps.
        with_names: Whether detections have their name beside them, in colour they always are.
        with_scores: Whether there is a score beside the name.

    Returns:
        An image of the same shape, uint8, BGR. An object with an identity has a colour of its own,
        and the identity before its name. OpenCV has no letters but ASCII: accents are left
        out, and a name in another script becomes ``class 3``.
    """
    if isinstance(result, LabelMap):
        return _draw_label_map(image, result, legend, opacity)
    if isinstance(result, Classification):
        return _draw_ranking(image, result, legend)
    return _draw_detections(
        image, result, legend, opacity=opacity, with_names=with_names, with_scores=with_scores
    )


def _draw_detections(
    image: np.ndarray,
    found: Detections,
    legend: Legend,
    *,
    opacity: float,
    with_names: bool,
    with_scores: bool,
) -> np.ndarray:
    image = image.copy()
    width = max(round(sum(image.shape[:2]) / 500), 1)
    order = range(len(found) - 1, -1, -1)  # the best on top
    tracks = [found.track_id(index) for index in range(len(found))]
    colors = [
        legend.color(label) if track is None else Legend().color(track)
        for label, track in zip(found.labels.tolist(), tracks)
    ]
    if found.has_masks:
        for index in order:
            _draw_mask(image, found.mask(index), colors[index], opacity)
    boxes = found.boxes.clip(-MAX_COORDINATE, MAX_COORDINATE).round().astype(int).tolist()
    for index in order:
        left, top, right, bottom = boxes[index]
        cv2.rectangle(image, (left, top), (right, bottom), colors[index], width)
    for index in order if with_names else ():
        name = _letters(legend, int(found.labels[index]))
        name = name if tracks[index] is None else f'{tracks[index]} {name}'
        text = f'{name} {found.scores[index]:.2f}' if with_scores else name
        _write(image, text, boxes[index][:2], colors[index])
    return image


def _draw_mask(
    image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], opacity: float
) -> None:
    """Fills a mask ``(H, W)``, bool, and draws its outline."""
    image[mask] = _blended(image[mask], color, opacity)
    outlines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    cv2.drawContours(image, outlines, -1, (255, 255, 255), 1, cv2.LINE_AA)


def _draw_label_map(
    image: np.ndarray, result: LabelMap, legend: Legend, opacity: float
) -> np.ndarray:
    shares = result.shares()
    colors = np.zeros((max(shares) + 1, 3), np.uint8)
    for label in shares:
        colors[label] = legend.color(label)
    image = _blended(image, colors[result.labels], opacity)
    for label, share in shares.items():
        if share >= NAMED_SHARE:
            place = _middle(result.labels == label)
            _write(image, _letters(legend, label), place, (0, 0, 0), centred=True)
    return image


def _draw_ranking(image: np.ndarray, result: Classification, legend: Legend) -> np.ndarray:
    """Writes the most likely classes below each other, as many as fit into half of the image."""
    image = image.copy()
    bottom = 0
    for label, score in result.best():
        line = f'{_letters(legend, label)} {score:.2f}'
        bottom = _write(image, line, (0, bottom), legend.color(label), below=True)
        if bottom > image.shape[0] / 2:
            break
    return image


def _blended(image: np.ndarray, color: Sequence[int] | np.ndarray, opacity: float) -> np.ndarray:
    return (image * (1 - opacity) + np.asarray(color) * opacity).astype(np.uint8)


def _middle(mask: np.ndarray) -> tuple[int, int]:
    """The pixel, as x and y, that is farthest from the border of a mask ``(H, W)``."""
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return int(x), int(y)


def _letters(legend: Legend, label: int) -> str:
    """Name of a class in ASCII."""
    parts = unicodedata.normalize('NFKD', legend.name(label))
    name = ''.join(each for each in parts if not unicodedata.combining(each))
    return name if name.isascii() else Legend().name(label)


def _write(
    image: np.ndarray,
    text: str,
    place: Sequence[int],
    color: tuple[int, int, int],
    *,
    centred: bool = False,
    below: bool = False,
) -> int:
    """Writes on a plate whose lower left corner, or centre, is given, as far as there is room.

    Returns:
        The lower edge of the plate, whose upper left corner is given if it is to lie below.
    """
    scale = max(sum(image.shape[:2]) / 2400, 0.4)
    (width, height), base = cv2.getTextSize(text, FONT, scale, 1)
    x, y = place
    if centred:
        x, y = x - width // 2, y + (height + base) // 2
    y += (height + base) * below
    x = min(max(x, 0), max(image.shape[1] - width, 0))
    y = min(max(y, height + base), image.shape[0])
    cv2.rectangle(image, (x, y - height - base), (x + width, y), color, cv2.FILLED)
    bright = sum(color) > 3 * 128
    ink = (0, 0, 0) if bright else (255, 255, 255)
    cv2.putText(image, text, (x, y - base // 2 - 1), FONT, scale, ink, 1, cv2.LINE_AA)
    return y
