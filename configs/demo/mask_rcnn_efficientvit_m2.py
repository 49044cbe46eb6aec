# EfficientViT-M2 Mask R-CNN on generated data, from scratch in minutes on two CPU cores.
_base_ = [
    '../_base_/models/mask_rcnn.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/adamw_demo.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(type='EfficientViT', arch='m2'),
    neck=dict(
        type='EfficientViTFPN',
        in_channels=[128, 192, 224],
        out_channels=128,
        num_extra_trans_convs=2,
    ),
    rpn_head=dict(in_channels=128, feat_channels=128),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128),
        bbox_head=dict(in_channels=128, fc_out_channels=256, num_classes=3),
        mask_roi_extractor=dict(out_channels=128),
        mask_head=dict(num_convs=2, in_channels=128, conv_out_channels=64, num_classes=3),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=100)),
)

train_dataloader = dict(batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
auto_scale_lr = dict(base_batch_size=8)

default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=1), visualization=dict(score_thr=0.4)
)
randomness = dict(seed=0)
