# TRT-ViT-B learns the pooled features of DINOv2 (ViT-B/14, Apache-2.0) from a folder of images that
# need no labels. No recipe was published: AdamW for 300 epochs, as the classifiers have it.
# By the logits of a supervised teacher, with labels: docs/distill.md.
_base_ = 'trtvit_b_imagenet.py'

model = dict(
    type='DistilledClassifier',
    teacher='timm://vit_base_patch14_dinov2.lvd142m',
    teacher_options=dict(img_size=224),
    teacher_dtype='float16',
    label_weight=0.0,
    feature_weight=1.0,
    train_cfg=None,  # neither Mixup nor CutMix, which mix labels
)

data_root = 'data/images/'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root=data_root,
        with_label=False,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    )
)
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = None
test_evaluator = None
test_cfg = None

default_hooks = dict(checkpoint=dict(save_best=None))
