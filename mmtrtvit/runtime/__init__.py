"""Runs exported models without PyTorch: NumPy, OpenCV, and ONNX Runtime or TensorRT."""

from .detector import Detector
from .model import BadImage, Model
from .results import Detections, LabelMap
from .segmentor import Segmentor
from .work_dir import read_work_dir

__all__ = ['BadImage', 'Detections', 'Detector', 'LabelMap', 'Model', 'Segmentor', 'read_work_dir']
