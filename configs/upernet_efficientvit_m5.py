_base_ = 'upernet_efficientvit_m4.py'

model = dict(
    backbone=dict(arch='m5', init_cfg=dict(checkpoint='timm://efficientvit_m5.r224_in1k')),
    decode_head=dict(in_channels=[192, 288, 384]),
    auxiliary_head=dict(in_channels=288),
)
