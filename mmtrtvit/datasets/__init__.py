"""Generated data for demos and tests; needs NumPy, OpenCV and pycocotools only."""

from .contours import make_contours
from .shape_folders import make_shape_folders
from .shapes import CLASSES, draw_scene, make_shapes

__all__ = ['CLASSES', 'draw_scene', 'make_contours', 'make_shape_folders', 'make_shapes']
