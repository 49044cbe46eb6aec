# An attention before each FFN, where the sandwich has one for two.
_base_ = '../classification/efficientvit_m4_imagenet.py'

model = dict(backbone=dict(sandwich=False))
