_base_ = 'tensorrt_fp32.py'

backend_config = dict(common_config=dict(bf16_mode=True))
