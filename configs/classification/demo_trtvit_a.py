# TRT-ViT-A on generated data, from scratch in minutes on two CPU cores.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/shape_folders.py',
    '../_base_/schedules/adamw_classifier_demo.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    backbone=dict(type='TRTViT', arch='a', out_indices=(3,)),
    head=dict(in_channels=1024),
    train_cfg=None,  # neither Mixup nor CutMix
)

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=20, max_keep_ckpts=1),
    visualization=dict(resize=320),  # side of drawn images, for their text
)
randomness = dict(seed=0)
