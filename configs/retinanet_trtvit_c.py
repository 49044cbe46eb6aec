_base_ = 'retinanet_trtvit_b.py'

model = dict(backbone=dict(arch='c'), neck=dict(in_channels=[512, 1024, 1536]))
