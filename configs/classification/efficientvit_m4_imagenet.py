# EfficientViT's recipe (official code): 300 epochs at 8x256 images in single precision, with
# adaptive gradient clipping, repeated augmentation and averaged weights.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_imagenet_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    backbone=dict(type='EfficientViT', arch='m4', window_size=(7, 7, 4), out_indices=(2,)),
    head=dict(type='LeViTClsHead', distillation=False, in_channels=384),  # BatchNorm before it
)

train_dataloader = dict(batch_size=256, sampler=dict(repeats=3))

optim_wrapper = dict(
    optimizer=dict(lr=4e-3, weight_decay=0.025),  # 1e-3 for each 512 images
    paramwise_cfg=dict(custom_keys={'bias_table': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 4e-3, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=5, eta_min=1e-5, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=2048)

custom_hooks = [
    dict(type='StreamHook'),
    dict(type='CheckWeightsHook'),
    dict(type='AGCHook', clip_factor=0.02, exclude=('head.head.linear',)),
    dict(type='EMAHook', momentum=1 - 0.99996, update_buffers=True),
]
