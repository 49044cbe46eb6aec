"""Data sets: generated ones, those of other tools, and a look at what they hold.

Importing this room takes NumPy, OpenCV and pycocotools only.
"""

from .generated.contours import make_contours
from .generated.shape_folders import make_shape_folders
from .generated.shapes import CLASSES, draw_scene, make_shapes

__all__ = ['CLASSES', 'draw_scene', 'make_contours', 'make_shape_folders', 'make_shapes']
