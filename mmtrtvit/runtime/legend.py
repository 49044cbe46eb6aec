"""Legend: the names and the colours of classes."""

from typing import NamedTuple

import cv2
import numpy as np


class Legend(NamedTuple):
    """Names and colours by label.

    Attributes:
        names: Of the classes; may be empty.
        palette: Red, green and blue of each, from 0 to 255; may be empty.
    """

    names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()

    def name(self, label: int) -> str:
        """Name of a class; ``class 3`` where it has none."""
        return self.names[label] if 0 <= label < len(self.names) else f'class {label}'

    def color(self, label: int) -> tuple[int, int, int]:
        """Colour of a class, BGR; one of its own where there is no palette."""
        if label < len(self.palette):
            red, green, blue = self.palette[label]
            return blue, green, red
        hue = np.array([[[label * 67 % 180, 200, 230]]], np.uint8)  # neighbours far apart
        return tuple(cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist())
