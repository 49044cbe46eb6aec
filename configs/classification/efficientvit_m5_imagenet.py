_base_ = 'efficientvit_m4_imagenet.py'

model = dict(backbone=dict(arch='m5'), head=dict(in_channels=384))
