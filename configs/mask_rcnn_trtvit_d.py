_base_ = 'mask_rcnn_trtvit_b.py'

model = dict(backbone=dict(arch='d'), neck=dict(in_channels=[256, 512, 1024, 2048]))
