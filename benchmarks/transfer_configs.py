"""The configs that transfer.py trains with: a classifier, a detector, and a distillation.

All three have the same backbones. Sizes are for a CPU: neck and head of the detector are narrow.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

MODELS: dict[str, dict[str, Any]] = {
    'trtvit_a': dict(type='TRTViT', arch='a', channels=[512, 1024, 1024], last=3),
    'efficientvit_m0': dict(type='EfficientViT', arch='m0', channels=[64, 128, 192], last=2),
    'efficientvit_m2': dict(type='EfficientViT', arch='m2', channels=[128, 192, 224], last=2),
}
# Of a classifier; TRT-ViT-A learns nothing of contours at the demo's 1e-3.
RATES = dict(TRTViT=2e-4, EfficientViT=1e-3)

CLASSIFIER = """
_base_ = __import__('mmtrtvit').config_path('classification/demo_trtvit_a.py')
metainfo = dict(classes={classes})
model = dict(
    backbone=dict(_delete_=True, type='{type}', arch='{arch}', out_indices=({last},){init}),
    head=dict(in_channels={width}))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale={size}, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=({size}, {size})),
    dict(type='PackInputs')]
train_dataloader = dict(
    batch_size={batch},
    dataset=dict(data_root='{root}', data_prefix='{train}', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=64, dataset=dict(data_root='{root}', data_prefix='{val}', pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
default_hooks = dict(checkpoint=dict(interval=500, save_best=None))
optim_wrapper = dict(optimizer=dict(lr={rate}))
randomness = dict(seed={seed})
"""

# What follows a classifier's config to make it learn a teacher's pooled features, without labels.
DISTILLED = """
custom_imports = dict(
    imports=['mmtrtvit', 'mmtrtvit.timm_models'], allow_failed_imports=False)
model.update(
    type='DistilledClassifier', teacher='timm://trt_vit_a', teacher_checkpoint='{teacher}',
    teacher_options=dict(num_classes=0), label_weight=0.0)
train_pipeline[1].update(crop_ratio_range=(0.1, 1.0))
train_dataloader['dataset'].update(
    ann_file='{images}', with_label=False, pipeline=train_pipeline)
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = test_cfg = test_evaluator = None
"""

# The pyramids of both families begin at stride 8, EfficientViT's by a transposed convolution.
NECKS = dict(
    TRTViT="type='FPN', add_extra_convs='on_input'",
    EfficientViT="type='EfficientViTFPN', num_extra_trans_convs=1, add_extra_convs='on_input'",
)

DETECTOR = """
_base_ = __import__('mmtrtvit').config_path('demo/retinanet_trtvit_b.py')
metainfo = dict(classes={classes})
model = dict(
    backbone=dict(_delete_=True, type='{type}', arch='{arch}', out_indices={indices}{init}),
    neck=dict(
        _delete_=True, {neck}, in_channels={channels}, out_channels=64, num_outs=5,
        norm_cfg=dict(type='GN', num_groups=32)),
    bbox_head=dict(
        num_classes={count}, in_channels=64, feat_channels=64, stacked_convs=2,
        anchor_generator=dict(octave_base_scale=2)))
scale = ({size}, {size})
train_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True), dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
root = '{root}/'
train_dataloader = dict(batch_size={batch}, dataset=dict(
    data_root=root, ann_file='train.json', data_prefix=dict(img='{images}'),
    pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(
    data_root=root, ann_file='val.json', data_prefix=dict(img='{images}'), pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=root + 'val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max={epochs}, eta_min_ratio=0.01, by_epoch=True,
         convert_to_iter_based=True)]
default_hooks = dict(checkpoint=dict(interval={saved}, save_best=None))
randomness = dict(seed={seed})
"""


def classifier(
    model: str,
    root: Path,
    classes: Sequence[str],
    *,
    size: int,
    batch: int,
    epochs: int,
    seed: int = 0,
    backbone: Path | None = None,
    train: str = 'train',
    val: str = 'val',
) -> str:
    """The config of a classifier of images in folders.

    Args:
        model: One of :data:`MODELS`.
        root: Folder of the data.
        classes: Names of the folders of a split.
        size: Height and width of the images.
        batch: Images of a step.
        epochs: Of the training.
        seed: Of the training.
        backbone: Weights that it begins with; none: from scratch.
        train: Folder of the training split below ``root``.
        val: Folder of the validation split.
    """
    described = MODELS[model]
    return CLASSIFIER.format(
        **described, classes=tuple(classes), width=described['channels'][-1], root=root,
        epochs=epochs, seed=seed, train=train, val=val, batch=batch, size=size,
        rate=RATES[described['type']], init=_init(backbone),
    )  # fmt: skip


def distilled(
    model: str, root: Path, images: Path, teacher: Path, *, size: int, batch: int, epochs: int
) -> str:
    """The config of a backbone that learns the features of TRT-ViT-A from images without labels.

    Args:
        model: One of :data:`MODELS`.
        root: Folder of the data.
        images: File with the images' paths below ``root``, one a line.
        teacher: Weights of the teacher's backbone.
        size: Height and width of the images.
        batch: Images of a step.
        epochs: Of the training.
    """
    config = classifier(
        model, root, ('none', 'other'), size=size, batch=batch, epochs=epochs, train=''
    )
    return config + DISTILLED.format(images=images, teacher=teacher)


def detector(
    model: str,
    root: Path,
    classes: Sequence[str],
    *,
    size: int,
    batch: int,
    epochs: int,
    seed: int,
    backbone: Path | None,
) -> str:
    """The config of a detector of what COCO annotations say; arguments as of :func:`classifier`."""
    described = MODELS[model]
    return DETECTOR.format(
        **described, neck=NECKS[described['type']], classes=tuple(classes), count=len(classes),
        root=root, epochs=epochs, seed=seed, batch=batch, size=size, init=_init(backbone),
        indices=(1, 2, 3) if described['type'] == 'TRTViT' else (0, 1, 2),
        saved=max(1, epochs // 4), images=image_folder(root),
    )  # fmt: skip


def image_folder(root: Path) -> str:
    """Returns where file names of COCO annotations begin: in ``images``, or beside the files."""
    return 'images/' if (root / 'images').is_dir() else ''


def _init(backbone: Path | None) -> str:
    return f", init_cfg=dict(type='Pretrained', checkpoint='{backbone}')" if backbone else ''
