# No segmentor was ever published for this backbone: its maps of strides 16, 32 and 64 become five
# through the neck of its detectors.
# From scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    '_base_/models/fpn.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/adamw_40k.py',
    '_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(
        type='EfficientViT',
        arch='m4',
        init_cfg=dict(type='Pretrained', checkpoint='timm://efficientvit_m4.r224_in1k'),
    ),
    neck=dict(
        type='EfficientViTFPN', in_channels=[128, 256, 384], num_extra_trans_convs=2, num_outs=5
    ),
    decode_head=dict(
        in_channels=[256, 256, 256, 256, 256],
        in_index=[0, 1, 2, 3, 4],
        feature_strides=[4, 8, 16, 32, 64],
    ),
)
