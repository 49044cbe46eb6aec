"""Training and evaluation: what the tools do, for other programs too."""

from .checks import check_data
from .config import read_config
from .runner import TrainResult, build_runner, evaluate, train

__all__ = ['TrainResult', 'build_runner', 'check_data', 'evaluate', 'read_config', 'train']
