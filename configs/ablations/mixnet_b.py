# MixNetB: MixNetV with MixBlockB in the place of its Transformers.
_base_ = 'mixnet_v.py'

model = dict(backbone=dict(pattern='C-C-C-MB'))
