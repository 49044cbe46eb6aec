_base_ = 'upernet_efficientvit_m4.py'

model = dict(
    backbone=dict(arch='m2'),
    decode_head=dict(in_channels=[128, 192, 224]),
    auxiliary_head=dict(in_channels=192),
)
