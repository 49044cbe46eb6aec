_base_ = 'default_runtime.py'

default_scope = 'mmpretrain'

default_hooks = dict(
    logger=dict(interval=100, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=500, save_best='accuracy/top1', rule='greater'),
    visualization=dict(type='VisualizationHook'),
)
custom_hooks = [dict(type='StreamHook'), dict(type='CheckWeightsHook')]

visualizer = dict(type='UniversalVisualizer')
log_processor = dict(by_epoch=False)
