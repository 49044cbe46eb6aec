# TRT-ViT-D RetinaNet, parameters, gradients and optimizer state sharded over the GPUs by FSDP.
_base_ = '../retinanet_trtvit_d.py'

runner_type = 'FlexibleRunner'
strategy = dict(type='ShardedStrategy')
