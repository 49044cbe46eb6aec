# A reference: timm's PVTv2-B3, trained as TRT-ViT is. The paper compares with PVT-Medium, which has
# about this size and which timm does not have.
_base_ = 'resnet50.py'

model = dict(
    backbone=dict(model_name='pvt_v2_b3', out_indices=(3,)),
    head=dict(in_channels=512),
)
