_base_ = 'classification_tensorrt_fp32.py'

backend_config = dict(common_config=dict(int8_mode=True))
