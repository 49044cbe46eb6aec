"""Runs exported models without PyTorch: NumPy, OpenCV, and ONNX Runtime, OpenVINO or TensorRT.

The names below are imported when they are first asked for, so that the command line can tell its
help, and what is missing, on any Python.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .classifier import Classifier as Classifier
    from .detector import Detector as Detector
    from .kinds import KINDS as KINDS
    from .model import Model as Model
    from .results import BadImage as BadImage
    from .results import Classification as Classification
    from .results import Detections as Detections
    from .results import LabelMap as LabelMap
    from .segmentor import Segmentor as Segmentor
    from .work_dir import read_work_dir as read_work_dir

_MODULES = {
    'BadImage': 'results',
    'Classification': 'results',
    'Classifier': 'classifier',
    'Detections': 'results',
    'Detector': 'detector',
    'KINDS': 'kinds',
    'LabelMap': 'results',
    'Model': 'model',
    'Segmentor': 'segmentor',
    'read_work_dir': 'work_dir',
}
__getattr__, __dir__, __all__ = attach(__name__, _MODULES)
