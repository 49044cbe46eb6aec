"""Deploy configs in MMDeploy's schema."""

import re
from pathlib import Path

import pytest

from mmtrtvit.deploy.backends.registry import find_backend
from mmtrtvit.deploy.settings import DeploySettings, InputShapes
from mmtrtvit.deploy.workflow import read_deploy_config
from mmtrtvit.errors import UserError

PRESETS = Path(__file__).parents[2] / 'configs/deploy'
SHAPES = dict(min_shape=[1, 3, 320, 320], opt_shape=[1, 3, 800, 1344], max_shape=[1, 3, 1344, 1344])
# What MMDeploy's configs amount to once their _base_ files are merged.
MMDEPLOY = dict(
    onnx_config=dict(
        type='onnx',
        export_params=True,
        keep_initializers_as_inputs=False,
        opset_version=11,
        save_file='end2end.onnx',
        input_names=['input'],
        output_names=['dets', 'labels'],
        input_shape=None,
        optimize=True,
        dynamic_axes=dict(
            input={0: 'batch', 2: 'height', 3: 'width'},
            dets={0: 'batch', 1: 'num_dets'},
            labels={0: 'batch', 1: 'num_dets'},
        ),
    ),
    codebase_config=dict(
        type='mmdet',
        task='ObjectDetection',
        model_type='end2end',
        post_processing=dict(
            score_threshold=0.05,
            confidence_threshold=0.005,
            iou_threshold=0.5,
            max_output_boxes_per_class=200,
            pre_top_k=5000,
            keep_top_k=100,
            background_label_id=-1,
        ),
    ),
    backend_config=dict(
        type='tensorrt',
        common_config=dict(fp16_mode=True, max_workspace_size=1 << 30),
        model_inputs=[dict(input_shapes=dict(input=SHAPES))],
    ),
)


def read(tmp_path, options=None, scope='mmdet', **config):
    path = tmp_path / 'deploy.py'
    path.write_text('\n'.join(f'{key} = {value!r}' for key, value in config.items()))
    return read_deploy_config(path, scope, options)


@pytest.mark.parametrize('path', sorted(PRESETS.glob('*.py')), ids=lambda path: path.stem)
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_presets_say_what_their_names_say(path, scope):
    settings = read_deploy_config(path, scope)
    backend, _, precision = path.stem.removeprefix('classification_').partition('_')
    assert (settings.backend, settings.precision) == (backend, precision or 'fp32')
    assert settings.dynamic_batch and settings.dynamic_size
    assert len(settings.profiles) == (backend == 'tensorrt')


def test_mmdeploys_own_configs_work(tmp_path):
    settings = read(tmp_path, **MMDEPLOY)
    assert (settings.backend, settings.precision) == ('tensorrt', 'fp16')
    assert settings.dynamic_batch and settings.dynamic_size and settings.input_shape is None
    assert settings.profiles == [InputShapes(*(tuple(shape) for shape in SHAPES.values()))]
    assert settings.common == dict(max_workspace_size=1 << 30)


def test_mmdeploys_static_size_is_width_and_height(tmp_path):
    settings = read(
        tmp_path,
        onnx_config=dict(input_shape=[640, 480]),
        codebase_config=dict(type='mmseg', task='Segmentation', with_argmax=True),
        backend_config=dict(type='onnxruntime'),
        scope='mmseg',
    )
    assert settings.input_shape == (480, 640)
    assert not settings.dynamic_size and settings.with_argmax


@pytest.mark.parametrize('mode', ['bf16', 'fp8'])
def test_what_mmdeploy_does_not_have(tmp_path, mode):
    for backend in (
        dict(type='tensorrt', common_config={f'{mode}_mode': True}),
        dict(type='tensorrt', precision=mode),
    ):
        settings = read(tmp_path, backend_config=backend)
        assert settings.precision == mode and settings.rest == 'fp32' and not settings.common
        expected = 'fp32' if mode == 'bf16' else mode
        assert find_backend('tensorrt').onnx_precision(settings.precision) == expected
    with pytest.raises(UserError, match=f'sets {min(mode, "fp16")}_mode, .*leave all but one out'):
        common = {f'{mode}_mode': True, 'fp16_mode': True}
        read(tmp_path, backend_config=dict(type='tensorrt', common_config=common))


@pytest.mark.parametrize('kind', ['onnxruntime', 'tensorrt'])
def test_bf16_beside_int8_is_for_openvino(tmp_path, kind):
    common = dict(int8_mode=True, bf16_mode=True)
    with pytest.raises(UserError, match='not INT8 is computed in bf16 by OpenVINO alone. Leave bf'):
        read(tmp_path, backend_config=dict(type=kind, common_config=common))


def test_onnx_runtime_has_no_bf16(tmp_path):
    with pytest.raises(UserError, match='bf16 is for TensorRT.*ONNX Runtime has fp32.*or one of'):
        read(tmp_path, backend_config=dict(type='onnxruntime', precision='bf16'))


@pytest.mark.parametrize(
    'machine, precision, processor, expected',
    [
        ('x86_64', 'int8', 'arm', 'ARM'),
        ('x86_64', 'int8', 'x86_avx2', ''),
        ('x86_64', 'int8', None, ''),
        ('x86_64', 'fp32', 'arm', ''),
        ('aarch64', 'int8', 'x86', 'x86'),
        ('aarch64', 'int8', None, ''),
    ],
)
def test_other_machines_that_a_file_is_for(monkeypatch, machine, precision, processor, expected):
    monkeypatch.setattr('platform.machine', lambda: machine)
    common = dict(processor=processor) if processor else {}
    settings = DeploySettings(precision=precision, common=common)
    assert find_backend('onnxruntime').meant_for(settings) == expected
    assert not find_backend('openvino').meant_for(settings)


def test_the_processor_that_int8_is_for(tmp_path):
    options = {'backend_config.common_config.processor': 'arm'}
    settings = read_deploy_config(PRESETS / 'onnxruntime_int8.py', 'mmdet', options)
    assert settings.precision == 'int8' and settings.common == dict(processor='arm')
    find_backend('onnxruntime').check(settings)
    settings.common = dict(processor='sparc')
    with pytest.raises(UserError, match="processor is 'sparc', expected one of: x86, x86_avx2, a"):
        find_backend('onnxruntime').check(settings)


def test_the_drop_of_a_metric(tmp_path):
    assert read(tmp_path).calibration.max_drop is None
    found = read(tmp_path, calib_config=dict(max_drop=0.5, num_held_out=50)).calibration
    assert (found.max_drop, found.num_held_out) == (0.5, 50)
    for value in (-1, 100, '0.5', True):
        with pytest.raises(UserError, match='calib_config.max_drop is .*, expected points'):
            read(tmp_path, calib_config=dict(max_drop=value))
    with pytest.raises(UserError, match='calib_config.num_held_out is 0, expected a number of at'):
        read(tmp_path, calib_config=dict(num_held_out=0))


def test_the_least_agreement(tmp_path):
    assert read(tmp_path).least_agreement == 0.7
    assert read(tmp_path, verify_config=dict(least_agreement=0)).least_agreement == 0
    for value in (1.1, 70, 'much'):
        with pytest.raises(UserError, match=f'least_agreement is {value!r}, expected a share'):
            read(tmp_path, verify_config=dict(least_agreement=value))


@pytest.mark.parametrize('value', [False, True, 'resize'])
def test_what_a_graph_does_to_images(tmp_path, value):
    settings = read(tmp_path, onnx_config=dict(preprocessing=value))
    assert settings.preprocessing == bool(value) and settings.resizing == (value == 'resize')


@pytest.mark.parametrize(
    'onnx, channels, message',
    [
        (
            dict(preprocessing='scale'),
            1,
            "preprocessing is 'scale', expected one of: False, True, r",
        ),
        (dict(preprocessing='resize', exporter='dynamo'), 1, "'resize' needs exporter='torchscri"),
        (
            dict(preprocessing='resize'),
            1,
            'must be .B, H, W, 3., as onnx_config.preprocessing is on',
        ),
        (dict(preprocessing=True), 1, 'must be .B, H, W, 3., as onnx_config.preprocessing is on'),
        ({}, 3, 'must be .B, 3, H, W., as onnx_config.preprocessing is off'),
    ],
)
def test_preprocessing_that_does_not_fit(tmp_path, onnx, channels, message):
    shape = [1, 64, 96]
    shape.insert(channels, 3)
    shapes = dict(min_shape=shape, opt_shape=shape, max_shape=shape)
    backend = dict(type='tensorrt', model_inputs=[dict(input_shapes=dict(input=shapes))])
    with pytest.raises(UserError, match=message):
        read(tmp_path, onnx_config=onnx, backend_config=backend)


def test_a_size_with_dynamic_axes_is_only_an_example(tmp_path):
    onnx = dict(input_shape=[640, 480], dynamic_axes=dict(input={2: 'height', 3: 'width'}))
    settings = read(tmp_path, onnx_config=onnx)
    assert settings.dynamic_size and not settings.dynamic_batch and settings.input_shape is None


def test_values_from_the_command_line():
    settings = read_deploy_config(
        PRESETS / 'onnxruntime.py',
        'mmdet',
        {
            'onnx_config.input_shape': [640, 480],
            'backend_config.common_config.int8_mode': True,
            'calib_config.num_images': 7,
        },
    )
    assert settings.input_shape == (480, 640) and settings.precision == 'int8'
    assert settings.calibration.num_images == 7


# Of half precision in ONNX Runtime; MMDeploy's defaults.
CONVERTER = dict(
    min_positive_val=1e-7,
    max_finite_val=1e4,
    keep_io_types=False,
    disable_shape_infer=False,
    op_block_list=None,
    node_block_list=None,
)


@pytest.mark.parametrize(
    'backend, precision, rest',
    [
        (dict(type='onnxruntime'), 'fp32', 'fp32'),
        (dict(type='onnxruntime', precision='fp16', common_config=CONVERTER), 'fp16', 'fp32'),
        (dict(type='onnxruntime', precision='int8'), 'int8', 'fp32'),
        (dict(type='tensorrt', common_config=dict(fp16_mode=False)), 'fp32', 'fp32'),
        (dict(type='tensorrt', common_config=dict(fp16_mode=True)), 'fp16', 'fp32'),
        (dict(type='tensorrt', common_config=dict(int8_mode=True)), 'int8', 'fp32'),
        (dict(type='tensorrt', common_config=dict(fp16_mode=True, int8_mode=True)), 'int8', 'fp16'),
        (
            dict(type='tensorrt', precision='int8', common_config=dict(fp16_mode=True)),
            'int8',
            'fp16',
        ),
        (
            dict(type='tensorrt', precision='fp16', common_config=dict(fp16_mode=True)),
            'fp16',
            'fp32',
        ),
        (dict(type='openvino', common_config=dict(bf16_mode=True, int8_mode=True)), 'int8', 'bf16'),
        (
            dict(type='openvino', precision='int8', common_config=dict(bf16_mode=True)),
            'int8',
            'bf16',
        ),
    ],
)
def test_precision_as_mmdeploys_configs_write_it(tmp_path, backend, precision, rest):
    calibration = dict(create_calib=True, calib_file='calib_data.h5')
    settings = read(tmp_path, backend_config=backend, calib_config=calibration)
    assert (settings.backend, settings.precision) == (backend['type'], precision)
    assert settings.rest == rest
    assert not {'fp16_mode', 'int8_mode', 'op_block_list'} & settings.common.keys()


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(onnx_cfg={}), 'onnx_cfg is unknown. Did you mean onnx_config?'),
        (
            dict(onnx_config=dict(input_shapes=None)),
            'onnx_config.input_shapes is unknown. Did you mean input_shape or input_names?',
        ),
        (
            dict(backend_config=dict(common_config=dict(fp16=True))),
            'backend_config.common_config.fp16 is unknown',
        ),
        (dict(onnx_config=3), 'onnx_config is 3, expected a dict'),
        (
            dict(backend_config=dict(type='ncnn')),
            "backend_config.type is 'ncnn', expected one of: onnxruntime, tensorrt",
        ),
        (
            dict(codebase_config=dict(type='mmseg')),
            "codebase_config.type is 'mmseg', but the model",
        ),
        (
            dict(codebase_config=dict(task='Segmentation')),
            "task is 'Segmentation', expected one of: ObjectDetection, InstanceSegmentation",
        ),
        (dict(codebase_config=dict(model_type='partition')), "model_type is 'partition'"),
        (dict(onnx_config=dict(exporter='script')), "exporter is 'script', expected one of"),
        (dict(onnx_config=dict(opset_version=13)), 'opset_version is 13'),
        (
            dict(onnx_config=dict(input_names=['image'])),
            "input_names is ['image'], but graphs take",
        ),
        (dict(onnx_config=dict(nms='soft')), "onnx_config.nms is 'soft', expected one of"),
        (dict(onnx_config=dict(pooling='max')), "onnx_config.pooling is 'max', expected one of"),
        (dict(calib_config=dict(exclude_worst=-1)), 'exclude_worst is -1'),
        (dict(onnx_config=dict(input_shape=640)), 'input_shape is 640, expected (WIDTH, HEIGHT)'),
        (dict(onnx_config=dict(input_shape=[640, 16])), 'at least 32 pixels'),
        (
            dict(onnx_config=dict(dynamic_axes=dict(input={0: 'batch'}))),
            'a graph of fixed size needs',
        ),
        (
            dict(backend_config=dict(precision='fp32', common_config=dict(fp16_mode=True))),
            "backend_config.precision is 'fp32', but common_config sets fp16_mode",
        ),
        (
            dict(backend_config=dict(precision='fp4')),
            "backend_config.precision is 'fp4', expected one of: fp32, fp16, bf16, int8, fp8.",
        ),
        (
            dict(backend_config=dict(precision='fp16', common_config=dict(op_block_list=['Add']))),
            'common_config.op_block_list: which layers are half is not for a config to say',
        ),
        (
            dict(partition_config=dict(type='two_stage', apply_marks=True)),
            'partition_config: a graph that tools/deploy.py writes holds all of the model',
        ),
        (dict(calib_config=dict(method='best')), "calib_config.method is 'best'"),
        (dict(calib_config=dict(num_images=0)), 'num_images is 0'),
        (
            dict(
                backend_config=dict(
                    model_inputs=[
                        dict(input_shapes=dict(input=dict(SHAPES, min_shape=[3, 320, 320])))
                    ]
                )
            ),
            'model_inputs.0.input_shapes.input: min_shape must',
        ),
        (
            dict(
                backend_config=dict(
                    model_inputs=[
                        dict(input_shapes=dict(input=dict(SHAPES, min_shape=[1, 3, 900, 320])))
                    ]
                )
            ),
            'must not shrink',
        ),
    ],
)
def test_wrong_configs_are_refused_with_the_key(tmp_path, config, message):
    with pytest.raises(UserError, match=re.escape(message)):
        read(tmp_path, **config)
