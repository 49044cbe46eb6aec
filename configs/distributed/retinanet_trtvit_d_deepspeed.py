# TRT-ViT-D RetinaNet, gradients and optimizer state sharded over the GPUs by DeepSpeed's ZeRO 2.
_base_ = '../retinanet_trtvit_d.py'

runner_type = 'FlexibleRunner'
strategy = dict(type='DeepSpeedStrategy', zero_optimization=dict(stage=2))
optim_wrapper = dict(type='DeepSpeedOptimWrapper')
