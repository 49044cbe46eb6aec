_base_ = 'fpn_efficientvit_m4.py'

model = dict(
    backbone=dict(arch='m1', init_cfg=dict(checkpoint='timm://efficientvit_m1.r224_in1k')),
    neck=dict(in_channels=[128, 144, 192]),
)
