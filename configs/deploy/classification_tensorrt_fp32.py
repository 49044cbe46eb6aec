# For classifiers, whose images have one size: 1 to 64 of them, of 224 to 384 pixels.
_base_ = 'tensorrt_fp32.py'

backend_config = dict(
    model_inputs=[
        dict(
            input_shapes=dict(
                input=dict(
                    min_shape=[1, 3, 224, 224],
                    opt_shape=[16, 3, 224, 224],
                    max_shape=[64, 3, 384, 384],
                )
            )
        )
    ],
)
