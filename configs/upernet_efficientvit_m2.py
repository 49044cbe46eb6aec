_base_ = 'upernet_efficientvit_m4.py'

model = dict(
    backbone=dict(arch='m2', init_cfg=dict(checkpoint='timm://efficientvit_m2.r224_in1k')),
    decode_head=dict(in_channels=[128, 192, 224]),
    auxiliary_head=dict(in_channels=192),
)
