# Query and key as wide as the value, and FFNs four times as wide as their input.
_base_ = '../classification/efficientvit_m4_imagenet.py'

model = dict(backbone=dict(key_channels=None, ffn_ratio=4))
