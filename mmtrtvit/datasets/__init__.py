"""Generated data for demos and tests; needs NumPy, OpenCV and pycocotools only."""

from .shapes import CLASSES, draw_scene, make_shapes

__all__ = ['CLASSES', 'draw_scene', 'make_shapes']
