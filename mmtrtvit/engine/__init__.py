"""Training, evaluation and prediction: the functions of the tools, for other programs too.

The names below are imported when they are first asked for: ``engine.command_line``, which every
tool needs before it knows its arguments, loads neither PyTorch nor MMEngine.
"""

from importlib import import_module
from typing import Any

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
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
