"""Runs exported models without PyTorch: NumPy, OpenCV, and ONNX Runtime or TensorRT."""

from .detector import Detector
from .model import Model
from .results import BadImage, Detections, LabelMap, Scores
from .segmentor import Segmentor
from .work_dir import read_work_dir

__all__ = [
    'BadImage',
    'Detections',
    'Detector',
    'LabelMap',
    'Model',
    'Scores',
    'Segmentor',
    'read_work_dir',
]
