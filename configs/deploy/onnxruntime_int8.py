# One ONNX file in INT8, fast in ONNX Runtime on a CPU.
# For another kind of processor than this machine's:
#   --cfg-options backend_config.common_config.processor=arm (x86, x86_avx2, arm)
_base_ = 'onnxruntime.py'

backend_config = dict(common_config=dict(int8_mode=True))
