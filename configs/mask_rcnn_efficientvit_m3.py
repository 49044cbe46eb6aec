_base_ = 'mask_rcnn_efficientvit_m4.py'

model = dict(
    backbone=dict(arch='m3', init_cfg=dict(checkpoint='timm://efficientvit_m3.r224_in1k')),
    neck=dict(in_channels=[128, 240, 320]),
)
