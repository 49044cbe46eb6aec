"""``mmcv.ops`` without compiling mmcv.

The mmcv that ``pip install`` builds has no ``mmcv._ext``, the extension that ``mmcv.ops`` and with
it ``mmdet.models`` import. :func:`install` has Python load :mod:`mmtrtvit._mmcv_ext` as
``mmcv._ext`` where there is no other: NMS and RoIAlign by torchvision's kernels, and the sigmoid
focal loss. A compiled ``mmcv._ext`` is always found first, and an error in it is raised as it is.
"""

import ast
import contextlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


class _ExtFinder:
    """Finds ``mmcv._ext`` and nothing else; meant for the end of ``sys.meta_path``."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != 'mmcv._ext':
            return None
        return spec_from_file_location(name, Path(__file__).with_name('_mmcv_ext.py'))


def install() -> None:
    """Makes ``mmcv.ops`` importable, for mmdet and mmseg modules that were imported before, too.

    Loads neither mmcv nor torch, unless there are mmdet or mmseg modules that did without
    ``mmcv.ops``: what they import of it is then imported again, and an import of one of their
    packages that failed half-way is completed. A second call does nothing.

    Raises:
        ImportError: If there are such modules because a compiled ``mmcv._ext`` cannot be loaded.
    """
    if _ExtFinder in sys.meta_path:
        return
    sys.meta_path.append(_ExtFinder)
    modules = {
        name: module for name, module in list(sys.modules.items())
        if name.startswith(('mmcv.cnn.', 'mmdet.', 'mmseg.')) and isinstance(module, ModuleType)
    }
    _repeat_failed_imports(list(modules.values()))
    for name, module in modules.items():
        parent, _, child = name.rpartition('.')
        if parent not in sys.modules or not hasattr(sys.modules[parent], child):
            with contextlib.suppress(ImportError):
                setattr(importlib.import_module(parent), child, module)


def _repeat_failed_imports(modules: list[ModuleType]) -> None:
    """Replaces what the modules use instead of ``mmcv.ops``, also where others took it over."""
    guards = [(module, guard) for module in modules for guard in _failed_guards(module)]
    if not guards or find_spec('mmcv.ops') is None:  # mmcv-lite has no mmcv.ops
        return
    importlib.import_module('mmcv.ops')
    replaced: dict[int, tuple[Any, Any]] = {}
    for module, guard in guards:
        before = dict(vars(module))
        with contextlib.suppress(ImportError):
            exec(guard, vars(module))
        for name, obj in before.items():
            if obj is not None and vars(module)[name] is not obj:
                replaced[id(obj)] = obj, vars(module)[name]
    for module in modules:
        for name, obj in list(vars(module).items()):
            if id(obj) in replaced:
                setattr(module, name, replaced[id(obj)][1])


def _failed_guards(module: ModuleType) -> Iterator[CodeType]:
    """Yields the imports of a module's ``try: from mmcv.ops import x`` where they did not succeed.

    An import did not succeed if a name of it is missing, is None or was defined by the module
    itself, as the substitutes of mmseg and mmdet are.
    """
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        return
    if '\n    from mmcv.' not in source:
        return
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Try):
            continue
        imports = [stmt for stmt in node.body if isinstance(stmt, ast.ImportFrom)]
        bound = [
            vars(module).get(alias.asname or alias.name) for stmt in imports
            if (stmt.module or '').startswith('mmcv.') for alias in stmt.names
        ]
        if any(obj is None or getattr(obj, '__module__', None) == module.__name__ for obj in bound):
            yield compile(ast.Module(list(imports), []), inspect.getfile(module), 'exec')
