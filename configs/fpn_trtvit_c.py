_base_ = 'fpn_trtvit_b.py'

model = dict(backbone=dict(arch='c'), neck=dict(in_channels=[256, 512, 1024, 1536]))
