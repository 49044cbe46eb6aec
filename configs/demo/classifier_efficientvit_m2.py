# EfficientViT-M2 as a classifier of generated shapes, from scratch in minutes on two CPU cores.
_base_ = '../classification/demo_efficientvit_m2.py'
