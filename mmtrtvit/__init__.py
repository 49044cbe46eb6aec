"""TRT-ViT and EfficientViT for MMDetection and MMSegmentation, from a config to TensorRT.

Importing the package registers its backbones, hooks and file backend with MMEngine and serves
``mmcv.ops`` where mmcv has no compiled ops. Where MMEngine is not installed, as on a device that
only runs engines, it does neither.
"""

from importlib.util import find_spec

from .mmcv_ops import install
from .paths import config_path
from .version import __version__

__all__ = ['__version__', 'config_path']

install()
if find_spec('mmengine') is not None:
    from . import models  # noqa: F401
    from .engine import finite, hooks, outputs, speed  # noqa: F401
