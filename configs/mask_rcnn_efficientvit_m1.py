_base_ = 'mask_rcnn_efficientvit_m4.py'

model = dict(backbone=dict(arch='m1'), neck=dict(in_channels=[128, 144, 192]))
