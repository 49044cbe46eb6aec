# To start from weights, add to backbone: init_cfg=dict(type='Pretrained', checkpoint='FILE')
_base_ = [
    '_base_/models/retinanet.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/adamw_1x.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(type='TRTViT', arch='b', out_indices=(1, 2, 3), drop_path_rate=0.1),
    neck=dict(in_channels=[512, 1024, 1280]),
)
