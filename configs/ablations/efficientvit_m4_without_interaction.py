_base_ = '../classification/efficientvit_m4_imagenet.py'

model = dict(backbone=dict(interaction=False))
