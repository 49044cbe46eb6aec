# As published: ImageNet weights, BatchNorm that keeps its statistics, neck and heads without norms.
# From scratch: --cfg-options model.backbone.init_cfg=None model.backbone.norm_eval=False
_base_ = [
    '_base_/models/mask_rcnn.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/adamw_1x.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='EfficientViT',
        arch='m4',
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='timm://efficientvit_m4.r224_in1k'),
    ),
    neck=dict(
        type='EfficientViTFPN', in_channels=[128, 256, 384], num_extra_trans_convs=2, norm_cfg=None
    ),
    roi_head=dict(mask_head=dict(norm_cfg=None)),
)

optim_wrapper = dict(
    paramwise_cfg=dict(_delete_=True, custom_keys=dict(bias_table=dict(decay_mult=0.0)))
)
