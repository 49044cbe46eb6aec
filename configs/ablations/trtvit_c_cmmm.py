_base_ = '../classification/trtvit_c_imagenet.py'

model = dict(backbone=dict(pattern='C-M-M-M'))
