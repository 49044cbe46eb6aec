"""Registration with a host package: at once where it is loaded, and otherwise when it gets loaded.

So ``import mmtrtvit`` costs nothing where MMEngine is not used, as in ``mmtrtvit.runtime`` and
``mmtrtvit --help``, and its names are there wherever a registry is. :data:`MODULES` are imported
at the end of ``import mmengine``, while other modules of ours that import MMEngine may be half
loaded. What is imported then must not need their names: the packages ``models`` and ``weights``
import MMEngine before all else, and the modules of ``engine`` take no names from each other. What
needs a package of the hosts is imported in the same way at the end of the module that it needs.

A program whose threads import a module of ours and MMEngine for the first time at the same moment
imports ``mmtrtvit.models`` before it starts them: Python refuses imports that wait for each other.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

# What registers something when it is imported, by the package at whose end that is done.
MODULES = {
    'mmengine': (
        'mmtrtvit.models',
        'mmtrtvit.classification.agc',
        'mmtrtvit.classification.stream',
        'mmtrtvit.engine.amp',
        'mmtrtvit.engine.distributed',
        'mmtrtvit.engine.finite',
        'mmtrtvit.engine.hooks',
        'mmtrtvit.engine.interruption',
        'mmtrtvit.engine.outputs',
        'mmtrtvit.engine.yaml_handler',
        'mmtrtvit.engine.sharded',
        'mmtrtvit.engine.speed',
        'mmtrtvit.weights.loader',
    ),
    'mmdet.datasets': ('mmtrtvit.annotations.by_name',),
    'mmdet.evaluation': ('mmtrtvit.annotations.metric_by_name',),
    'mmpretrain.datasets': (
        'mmtrtvit.classification.readers',
        'mmtrtvit.engine.loading_pretrain',
    ),
    'mmpretrain.models': ('mmtrtvit.classification.distillation',),
    'mmcv.transforms.loading': ('mmtrtvit.engine.loading',),  # in place of MMCV's loader
}


def install() -> None:
    """Registers everything, or has it done at the end of the first import of each host package."""
    for host in MODULES:
        if sys.modules.get(host):
            _register(host)
        elif _Finder not in sys.meta_path:
            sys.meta_path.insert(0, _Finder)


def _register(host: str) -> None:
    for name in MODULES[host]:
        # Unlike import_module, this passes over a package that another thread is loading and that
        # waits for MMEngine.
        __import__(name)


class _Finder:
    """Finds the packages of :data:`MODULES` where the other finders do, and nothing else."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the others' spec with a loader that registers everything at its end."""
        if name not in MODULES:
            return None
        others = (each for each in sys.meta_path if each is not cls and hasattr(each, 'find_spec'))
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, specs), None)
        if spec and spec.loader:
            spec.loader = _ThenRegister(spec.loader)
        return spec


class _ThenRegister(Loader):
    """Loads a module with another loader and registers what belongs to it right after that."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Returns what the other loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module's code, which then has its own loader again, and registers."""
        module.__loader__ = self._loader
        if module.__spec__:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _register(module.__name__)
