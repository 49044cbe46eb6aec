# One ONNX file for every height, width and number of images.
# A graph of one size: --cfg-options onnx_config.input_shape="[640,480]" (width, height)
onnx_config = dict(
    type='onnx',
    save_file='end2end.onnx',
    input_shape=None,
    exporter='torchscript',
    slim=True,
    nms='greedy',
    pooling='roi_align',
    preprocessing=False,  # True: the graph normalises; 'resize': and resizes
)
codebase_config = dict(with_argmax=False)
backend_config = dict(type='onnxruntime', common_config=dict(fp16_mode=False, int8_mode=False))
verify_config = dict(least_agreement=0.7)  # of files of lower precision
calib_config = dict(num_images=100, method='minmax', exclude=[], exclude_worst=0)
