# TRT-ViT on own folders, by EfficientViT's recipe: none was published for it.
_base_ = 'finetune_efficientvit_m4.py'

model = dict(
    backbone=dict(_delete_=True, type='TRTViT', arch='b', out_indices=(3,), drop_path_rate=0.1),
    head=dict(_delete_=True, type='LinearClsHead', num_classes=1000, in_channels=1280),
)
