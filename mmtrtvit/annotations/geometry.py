"""Boxes and the images that they lie in."""

from .data import Box

BORDER_TOLERANCE = 1  # pixels: boxes of many tools end at a rounded or 1-based border


def has_area(box: Box, size: tuple[float, float]) -> bool:
    """Returns whether a box has a pixel or more on each side, and a part in its image.

    Args:
        box: Left, top, right and bottom in pixels.
        size: Width and height of the image.
    """
    left, top, right, bottom = box
    width, height = size
    return (
        min(right - left, bottom - top) >= 1
        and min(right, width) > max(left, 0)
        and min(bottom, height) > max(top, 0)
    )


def crosses_border(box: Box, size: tuple[float, float]) -> bool:
    """Returns whether a box reaches out of its image by more than a tool's rounding."""
    left, top, right, bottom = box
    width, height = size
    return max(-left, -top, right - width, bottom - height) > BORDER_TOLERANCE
