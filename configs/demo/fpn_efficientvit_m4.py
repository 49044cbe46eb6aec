# EfficientViT-M4 Semantic FPN on generated data, from scratch in minutes on two CPU cores.
_base_ = [
    '../_base_/models/fpn.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/schedules/adamw_demo.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(type='EfficientViT', arch='m4'),
    neck=dict(
        type='EfficientViTFPN',
        in_channels=[128, 256, 384],
        out_channels=128,
        num_extra_trans_convs=2,
        num_outs=5,
    ),
    decode_head=dict(
        in_channels=[128, 128, 128, 128, 128],
        in_index=[0, 1, 2, 3, 4],
        feature_strides=[4, 8, 16, 32, 64],
        channels=64,
        dropout_ratio=0.0,
        num_classes=4,
    ),
)

train_cfg = dict(max_epochs=4)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=4,
        eta_min_ratio=0.01,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=8)

default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=True)
randomness = dict(seed=0)
