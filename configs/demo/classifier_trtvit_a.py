# TRT-ViT-A as a classifier of generated shapes, from scratch in minutes on two CPU cores.
_base_ = '../classification/demo_trtvit_a.py'
