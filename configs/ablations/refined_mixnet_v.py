# Refined-MixNetV: MixNetV with fewer blocks in early and more in late stages; ours are TRT-ViT-C's.
_base_ = '../classification/trtvit_c_imagenet.py'

model = dict(backbone=dict(pattern='C-C-C-T'))
