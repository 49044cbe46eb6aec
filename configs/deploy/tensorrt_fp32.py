_base_ = 'onnxruntime.py'

backend_config = dict(
    type='tensorrt',
    common_config=dict(max_workspace_size=4 << 30),
    model_inputs=[
        dict(
            input_shapes=dict(
                input=dict(
                    min_shape=[1, 3, 320, 320],
                    opt_shape=[1, 3, 800, 1344],
                    max_shape=[1, 3, 1344, 1344],
                )
            )
        )
    ],
)
