_base_ = '../classification/trtvit_c_imagenet.py'

model = dict(backbone=dict(mix_ratio=0.75))
