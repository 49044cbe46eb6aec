"""mmcv's ops without compiling mmcv.

The mmcv that ``pip install`` builds has no ``mmcv._ext``, the extension that ``mmcv.ops`` and with
it ``mmdet.models`` import. :func:`install` has Python load :mod:`mmtrtvit._mmcv_ext` as
``mmcv._ext`` where there is no other: NMS and RoIAlign by torchvision's kernels, and the sigmoid
focal loss. A compiled ``mmcv._ext`` is always found first, and an error in it is raised as it is.
"""

import importlib
import inspect
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

# What of mmcv.ops works on top of mmtrtvit._mmcv_ext, and mmdet or mmseg define placeholders for.
_OPS = (
    'CrissCrossAttention',
    'MultiScaleDeformableAttention',
    'batched_nms',
    'nms',
    'point_sample',
    'rel_roi_point_to_rel_img_point',
    'roi_align',
    'sigmoid_focal_loss',
)


class _ExtFinder:
    """Finds ``mmcv._ext`` and nothing else; meant for the end of ``sys.meta_path``."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != 'mmcv._ext':
            return None
        return spec_from_file_location(name, Path(__file__).with_name('_mmcv_ext.py'))


def install() -> None:
    """Makes ``mmcv.ops`` importable, for mmdet and mmseg modules that were imported before, too.

    mmdet and mmseg catch that ``mmcv.ops`` cannot be imported and define placeholders. Those in
    modules that are already there, such as what mmdet's ``tools/train.py`` imports before it reads
    the config, become the ops that they stand for. Without any, neither mmcv nor torch is loaded.

    Import mmtrtvit before ``mmdet.models`` and before what imports that, such as mmdet's
    ``tools/test.py``: they fail without. ``import mmdet.models`` can be repeated after mmtrtvit,
    but does not set subpackages that were imported by the first attempt as attributes:
    ``from mmdet.models.detectors import DINO`` works, ``mmdet.models.detectors.DINO`` does not.

    Raises:
        ImportError: If there are placeholders because a compiled ``mmcv._ext`` cannot be loaded.
    """
    if _ExtFinder not in sys.meta_path:
        sys.meta_path.append(_ExtFinder)
    found = [
        (module, name, op)
        for key, module in list(sys.modules.items())
        if key.startswith(('mmdet.', 'mmseg.')) and isinstance(module, ModuleType)
        for op in _OPS
        for name in (op, f'_{op}')
        if _is_placeholder(module, name)
    ]
    if not found:
        return
    ops = importlib.import_module('mmcv.ops')
    for module, name, op in found:
        setattr(module, name, getattr(ops, op))


def _is_placeholder(module: ModuleType, name: str) -> bool:
    """Whether it is None in mmseg, or in mmdet a function or class that takes anything."""
    if name not in vars(module):
        return False
    obj = vars(module)[name]
    if obj is None:
        return module.__name__.startswith('mmseg.')  # mmdet's clr_head.nms stands for line_nms
    return (inspect.isfunction(obj) or inspect.isclass(obj)) and (
        obj.__module__.startswith('mmdet.') and str(inspect.signature(obj)) == '(*args, **kwargs)'
    )
