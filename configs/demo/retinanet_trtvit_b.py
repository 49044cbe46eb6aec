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
    bbox_head=dict(num_classes=3, anchor_generator=dict(octave_base_scale=3)),
)

train_cfg = dict(max_epochs=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=2,
        eta_min_ratio=0.01,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=1), visualization=dict(score_thr=0.4)
)
randomness = dict(seed=0)
