# TRT-ViT-B RetinaNet on generated data, from scratch in minutes on two CPU cores.
_base_ = [
    '../_base_/models/retinanet.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/adamw_demo.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(type='TRTViT', arch='b', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[512, 1024, 1280]),
    bbox_head=dict(num_classes=3))

default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(max_keep_ckpts=1),
    visualization=dict(score_thr=0.4))
randomness = dict(seed=0)
