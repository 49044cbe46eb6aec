# TRT-ViT-A UPerNet on generated data, from scratch in minutes on two CPU cores.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/schedules/adamw_demo.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(type='TRTViT', arch='a'),
    decode_head=dict(
        in_channels=[256, 512, 1024, 1024], channels=64, dropout_ratio=0.0, num_classes=4
    ),
    auxiliary_head=dict(in_channels=1024, channels=64, dropout_ratio=0.0, num_classes=4),
)

optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=8)

default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=True)
randomness = dict(seed=0)
