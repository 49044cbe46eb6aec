# EfficientViT-M2 Mask R-CNN on generated data, from scratch in minutes on two CPU cores.
_base_ = [
    '../_base_/models/mask_rcnn.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/adamw_demo.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(type='EfficientViT', arch='m2'),
    neck=dict(type='EfficientViTFPN', in_channels=[128, 192, 224], num_extra_trans_convs=2),
    roi_head=dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3)),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=100)))

train_dataloader = dict(batch_size=8)

default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(max_keep_ckpts=1),
    visualization=dict(score_thr=0.4))
randomness = dict(seed=0)
