"""TRT-ViT and EfficientViT for MMDetection and MMSegmentation, from a config to TensorRT."""

__version__ = '0.1.0'
