_base_ = 'fpn_efficientvit_m4.py'

model = dict(backbone=dict(arch='m2'), neck=dict(in_channels=[128, 192, 224]))
