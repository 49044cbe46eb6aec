# EfficientViT's recipe for other data sets (arXiv 2305.07027): 300 epochs at 256 images. Data: one
# folder per class below train and val of data/my_images. It starts from weights of ImageNet with
# --cfg-options load_from=CHECKPOINT, where layers of other classes begin anew.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/image_folders.py',
    '../_base_/schedules/adamw_imagenet_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    backbone=dict(type='EfficientViT', arch='m4', window_size=(7, 7, 4), out_indices=(2,)),
    head=dict(type='LeViTClsHead', distillation=False, in_channels=384),
)

train_dataloader = dict(batch_size=256)

optim_wrapper = dict(optimizer=dict(weight_decay=1e-8))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=5, eta_min=1e-5, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=256)
