"""Runs exported models without PyTorch: NumPy, OpenCV, and ONNX Runtime, OpenVINO or TensorRT."""

from .classifier import Classifier
from .detector import Detector
from .model import Model
from .results import BadImage, Classification, Detections, LabelMap
from .segmentor import Segmentor
from .work_dir import read_work_dir

KINDS = {kind.task: kind for kind in (Classifier, Detector, Segmentor)}  # by task of deploy.json

__all__ = [
    'BadImage',
    'Classification',
    'Classifier',
    'Detections',
    'Detector',
    'LabelMap',
    'Model',
    'Segmentor',
    'read_work_dir',
]
