_base_ = 'upernet_efficientvit_m4.py'

model = dict(
    backbone=dict(arch='m3', init_cfg=dict(checkpoint='timm://efficientvit_m3.r224_in1k')),
    decode_head=dict(in_channels=[128, 240, 320]),
    auxiliary_head=dict(in_channels=240),
)
