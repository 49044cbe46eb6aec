# TRT-ViT-D RetinaNet with parameters, gradients and optimizer state sharded over the GPUs.
_base_ = '../retinanet_trtvit_d.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    state_dict_cfg='full',  # checkpoints are those of an ordinary training
    model_wrapper=dict(auto_wrap_policy='wrap_blocks'))
