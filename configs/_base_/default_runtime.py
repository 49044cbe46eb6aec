default_scope = 'mmdet'
custom_imports = dict(imports=['mmtrtvit'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=3, save_best='auto'),
    finite=dict(type='FiniteHook', max_skipped=0),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    speed=dict(type='SpeedHook', channels_last=False, compile=()),
    visualization=dict(type='DetVisualizationHook'),
)

custom_hooks = [dict(type='EpochSeedHook'), dict(type='CheckWeightsHook')]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)

sync_bn = 'torch'  # on several GPUs, BatchNorm takes its statistics from all of them

log_level = 'INFO'
load_from = None
resume = False
