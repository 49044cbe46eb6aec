# A reference: timm's ResNet-50, trained as TRT-ViT is.
_base_ = '../classification/trtvit_b_imagenet.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='TIMMBackbone',
        model_name='resnet50',
        features_only=True,
        out_indices=(4,),
    ),
    head=dict(in_channels=2048),
)
