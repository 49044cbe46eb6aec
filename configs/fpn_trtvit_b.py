# To start from weights, add to backbone: init_cfg=dict(type='Pretrained', checkpoint='FILE')
_base_ = [
    '_base_/models/fpn.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/adamw_40k.py',
    '_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(type='TRTViT', arch='b', drop_path_rate=0.1),
    neck=dict(in_channels=[256, 512, 1024, 1280]),
)
