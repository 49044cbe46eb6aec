"""Backbones, neck and classifier; they need torch, torchvision and MMEngine only."""

from .efficientvit import EfficientViT
from .trt_vit import TRTViT

__all__ = ['EfficientViT', 'TRTViT']
