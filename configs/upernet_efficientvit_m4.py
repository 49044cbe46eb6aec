# No segmentor was ever published for this backbone: the head takes its maps of strides 16, 32, 64.
# From scratch: --cfg-options model.backbone.init_cfg=None
_base_ = [
    '_base_/models/upernet.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/adamw_160k.py',
    '_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(
        type='EfficientViT',
        arch='m4',
        init_cfg=dict(type='Pretrained', checkpoint='timm://efficientvit_m4.r224_in1k'),
    ),
    decode_head=dict(in_channels=[128, 256, 384], in_index=[0, 1, 2]),
    auxiliary_head=dict(in_channels=256, in_index=1),
)

train_dataloader = dict(batch_size=2)
