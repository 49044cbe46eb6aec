_base_ = 'trtvit_b_imagenet.py'

model = dict(backbone=dict(arch='d'), head=dict(in_channels=2048))
