_base_ = 'efficientvit_m4_imagenet.py'

model = dict(backbone=dict(arch='m0'), head=dict(in_channels=192))
