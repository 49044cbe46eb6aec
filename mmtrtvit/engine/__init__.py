"""Training, evaluation and prediction: the functions of the tools, for other programs too.

The names below are imported when they are first asked for: ``engine.command_line``, which every
tool needs before it knows its arguments, loads neither PyTorch nor MMEngine.
"""

from ..lazy import attach

_MODULES = {
    'Predictor': 'predictor',
    'TrainResult': 'runner',
    'build_runner': 'runner',
    'check_data': 'checks',
    'evaluate': 'runner',
    'infer': 'inference',
    'load': 'predictor',
    'read_config': 'config',
    'result_of': 'results',
    'train': 'runner',
}
__getattr__, __dir__, __all__ = attach(__name__, _MODULES)
