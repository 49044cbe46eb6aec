_base_ = 'fpn_efficientvit_m4.py'

model = dict(
    backbone=dict(arch='m5', init_cfg=dict(checkpoint='timm://efficientvit_m5.r224_in1k')),
    neck=dict(in_channels=[192, 288, 384]),
)
