_base_ = 'openvino.py'

backend_config = dict(common_config=dict(bf16_mode=True))
