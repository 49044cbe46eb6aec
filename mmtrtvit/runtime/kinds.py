"""The class of each kind of model."""

from .classifier import Classifier
from .detector import Detector
from .segmentor import Segmentor

KINDS = {kind.task: kind for kind in (Classifier, Detector, Segmentor)}  # by task of deploy.json
