_base_ = 'retinanet_efficientvit_m4.py'

model = dict(backbone=dict(arch='m5'), neck=dict(in_channels=[192, 288, 384]))
