"""The package's loader of images in the registry of MMPretrain, which has MMCV's own there."""

from mmpretrain.registry import TRANSFORMS

from .loading import LoadImageFromFile

TRANSFORMS.register_module(force=True, module=LoadImageFromFile)
