"""Polygons for shapes that COCO's format does not have."""

from collections.abc import Sequence

import numpy as np

POINTS = 36  # of a polygon for an ellipse: its area is 0.5 % smaller


def ellipse(center: Sequence[float], radii: Sequence[float], angle: float = 0) -> np.ndarray:
    """Returns points of an ellipse, ``(POINTS, 2)``.

    Args:
        center: x and y.
        radii: In x and y, before the turn.
        angle: Degrees that it is turned by, clockwise.
    """
    steps = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    return _turned(np.stack([np.cos(steps), np.sin(steps)], axis=1) * radii, angle) + center


def corners(center: Sequence[float], sides: Sequence[float], angle: float) -> np.ndarray:
    """Returns the corners of a box that is turned about its center, ``(4, 2)``.

    Args:
        center: x and y.
        sides: Width and height, before the turn.
        angle: Degrees that it is turned by, clockwise.
    """
    box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.asarray(sides) / 2
    return _turned(box, angle) + center


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    turn = np.deg2rad(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    return points @ np.array([[cos, sin], [-sin, cos]])  # y points down: clockwise
