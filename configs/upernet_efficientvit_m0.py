_base_ = 'upernet_efficientvit_m4.py'

model = dict(
    backbone=dict(arch='m0'),
    decode_head=dict(in_channels=[64, 128, 192]),
    auxiliary_head=dict(in_channels=128),
)
