_base_ = 'fpn_efficientvit_m4.py'

model = dict(backbone=dict(arch='m3'), neck=dict(in_channels=[128, 240, 320]))
