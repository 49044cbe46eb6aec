_base_ = 'openvino.py'

backend_config = dict(common_config=dict(int8_mode=True))
