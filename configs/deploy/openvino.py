# An ONNX file and OpenVINO's model of it, in single precision.
_base_ = 'onnxruntime.py'

backend_config = dict(type='openvino')
