_base_ = 'openvino.py'

# Without bf16_mode, what is not INT8 is computed in FP32, as on processors without BF16.
backend_config = dict(common_config=dict(int8_mode=True, bf16_mode=True))
