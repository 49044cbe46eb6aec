_base_ = 'retinanet_trtvit_b.py'

model = dict(backbone=dict(arch='d'), neck=dict(in_channels=[512, 1024, 2048]))
