"""Backbones and neck. They need torch, torchvision and MMEngine; the neck also needs mmcv."""

from importlib.util import find_spec

import mmengine  # noqa: F401  before our own modules: see mmtrtvit.registration

from .efficientvit import EfficientViT
from .fast.fusion import fuse
from .trt_vit import TRTViT

__all__ = ['EfficientViT', 'TRTViT', 'fuse']

if find_spec('mmcv') is not None:  # every host of a neck has it
    from .necks import EfficientViTFPN  # noqa: F401

    __all__ += ['EfficientViTFPN']
