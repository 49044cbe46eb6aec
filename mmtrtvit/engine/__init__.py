"""Training, evaluation and prediction: what the tools do, for other programs too."""

from .checks import check_data
from .config import read_config
from .inference import infer
from .predictor import Predictor, load
from .results import result_of
from .runner import TrainResult, build_runner, evaluate, train

__all__ = [
    'Predictor',
    'TrainResult',
    'build_runner',
    'check_data',
    'evaluate',
    'infer',
    'load',
    'read_config',
    'result_of',
    'train',
]
