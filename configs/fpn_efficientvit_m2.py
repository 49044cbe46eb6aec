_base_ = 'fpn_efficientvit_m4.py'

model = dict(
    backbone=dict(arch='m2', init_cfg=dict(checkpoint='timm://efficientvit_m2.r224_in1k')),
    neck=dict(in_channels=[128, 192, 224]),
)
