"""TRT-ViT and EfficientViT for MMDetection and MMSegmentation, from a config to TensorRT.

Importing the package registers its backbones, hooks and file backend with MMEngine, at once where
MMEngine is loaded and otherwise as soon as it gets loaded, and serves ``mmcv.ops`` where mmcv has
no compiled ops. It loads neither PyTorch nor MMEngine itself.
"""

from . import mmcv_ops, registration
from .paths import config_path
from .version import __version__

__all__ = ['__version__', 'config_path']

mmcv_ops.install()
registration.install()
