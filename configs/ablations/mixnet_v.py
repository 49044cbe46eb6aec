# MixNetV (arXiv 2205.09579, table 3): TRT-ViT with Transformers in the last stage. The paper says
# late stages of a ResNet; ours has ResNet-50's depths, TRT-ViT-C's widths and one such stage.
_base_ = '../classification/trtvit_c_imagenet.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=(3, 4, 6, 3), channels=(256, 512, 1024, 1536)),
        pattern='C-C-C-T',
    )
)
