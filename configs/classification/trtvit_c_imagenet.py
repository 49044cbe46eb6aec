_base_ = 'trtvit_b_imagenet.py'

model = dict(backbone=dict(arch='c'), head=dict(in_channels=1536))
