_base_ = 'mask_rcnn_efficientvit_m4.py'

model = dict(
    backbone=dict(arch='m0', init_cfg=dict(checkpoint='timm://efficientvit_m0.r224_in1k')),
    neck=dict(in_channels=[64, 128, 192]),
)
