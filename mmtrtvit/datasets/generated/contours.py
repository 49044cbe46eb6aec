"""Contours by formula: images for pre-training that cost neither photographs nor labels.

After "Replacing Labeled Real-image Datasets with Auto-generated Contours" (arXiv 2206.09132), whose
classes are parameters of polygons drawn several times inside each other. The ranges, the colours
and the background are ours.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from .class_folders import write_class_folders

MARKER = 'contours.json'
MIN_SIZE = 32
SUBPIXEL = 4  # bits of a coordinate behind the point


class Formula(NamedTuple):
    """What the images of a class share.

    Attributes:
        corners: Of the polygon.
        lines: How many polygons lie inside each other.
        shrinking: Radius of each over that of the one around it.
        flatness: Height over width.
        roughness: How far corners leave the circle, over its radius.
        waves: How often the radius rises and falls along the outline.
        swing: How far it does, over the radius.
        twist: Angle between two polygons that follow each other, in radians.
    """

    corners: int
    lines: int
    shrinking: float
    flatness: float
    roughness: float
    waves: int
    swing: float
    twist: float


def make_contours(
    root: str | os.PathLike,
    classes: int = 1000,
    *,
    train: int = 20,
    val: int = 1,
    size: int = 64,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> Path:
    """Writes ``training/<class>/*.png`` and ``validation/<class>/*.png``, all or nothing.

    Equal arguments give equal images. What the same arguments have made before is left as it is.

    Args:
        root: Folder of the data set: absent, empty or made by this function.
        classes: Number of formulas.
        train: Training images of each.
        val: Validation images of each.
        size: Height and width of the images in pixels, 32 or more.
        seed: Seed of all random choices.
        progress: Called after each image.

    Returns:
        The absolute path of ``root``.

    Raises:
        ValueError: If there are fewer than two classes, or the images are too small.
        FileExistsError: If ``root`` holds something else.
    """
    if classes < 2 or size < MIN_SIZE:
        raise ValueError(
            f'expected 2 classes and {MIN_SIZE} pixels or more, got {classes} and {size}'
        )
    names = [f'{index:0{len(str(classes - 1))}d}' for index in range(classes)]
    formulas = [_formula(np.random.default_rng([seed, index])) for index in range(classes)]

    def draw(rng: np.random.Generator, index: int) -> tuple[np.ndarray, str]:
        label = index % classes
        return draw_contours(rng, formulas[label], size), names[label]

    return write_class_folders(
        root,
        (train * classes, val * classes),
        draw=draw,
        classes=names,
        marker=MARKER,
        arguments=dict(classes=classes, train=train, val=val, size=size, seed=seed),
        progress=progress,
    )


def draw_contours(rng: np.random.Generator, formula: Formula, size: int) -> np.ndarray:
    """Draws an image of a class, ``(size, size, 3)``, uint8, BGR.

    Place, size, turn, colours, the noise of the corners and the background are the image's own.
    """
    image = _background(rng, size)
    angles = np.linspace(0, 2 * np.pi, formula.corners, endpoint=False)
    radius = size * rng.uniform(0.3, 0.48)
    centre = size / 2 + size * rng.uniform(-0.08, 0.08, 2)
    start, color = rng.uniform(0, 2 * np.pi), rng.uniform(0, 255, 3)
    away = rng.uniform(-10, 10, 3)
    for line in range(formula.lines):
        noise = rng.uniform(-formula.roughness, formula.roughness, formula.corners)
        radii = radius * (1 + noise + formula.swing * np.sin(formula.waves * angles))
        x, y = radii * np.cos(angles), formula.flatness * radii * np.sin(angles)
        turn = start + line * formula.twist
        outline = np.stack(
            [x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1
        )
        points = ((centre + outline) * 2**SUBPIXEL).round().astype(np.int32)
        ink = (color + line * away).clip(0, 255).tolist()
        cv2.polylines(image, [points], True, ink, 1, cv2.LINE_AA, SUBPIXEL)
        radius *= formula.shrinking
    return image


def _formula(rng: np.random.Generator) -> Formula:
    return Formula(
        corners=int(rng.integers(3, 40)),
        lines=int(rng.integers(1, 12)),
        shrinking=rng.uniform(0.7, 0.95),
        flatness=rng.uniform(0.4, 1),
        roughness=rng.uniform(0, 0.2),
        waves=int(rng.integers(0, 8)),
        swing=rng.uniform(0, 0.3),
        twist=rng.uniform(-0.3, 0.3),
    )


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A few soft colours, ``(size, size, 3)``."""
    coarse = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
