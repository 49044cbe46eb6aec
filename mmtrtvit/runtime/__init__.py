"""Runs exported models without PyTorch: NumPy, OpenCV, and ONNX Runtime, OpenVINO or TensorRT.

Importing it loads none of them: its names load what they need when they are asked for, so that the
command line can tell its help, and what is missing, on any Python.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .classifier import Classifier
    from .detector import Detector
    from .kinds import KINDS
    from .model import Model
    from .results import BadImage, Classification, Detections, LabelMap
    from .segmentor import Segmentor
    from .work_dir import read_work_dir

MODULES = {
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

__all__ = [
    'KINDS',
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


def __getattr__(name: str) -> Any:
    """Loads what a name of the package stands for."""
    if name not in MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{MODULES[name]}', __name__), name)
