_base_ = 'tensorrt_fp32.py'

backend_config = dict(common_config=dict(fp8_mode=True))
