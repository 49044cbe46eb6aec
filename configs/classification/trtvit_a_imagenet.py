_base_ = 'trtvit_b_imagenet.py'

model = dict(backbone=dict(arch='a'), head=dict(in_channels=1024))
