"""Deploy configs in MMDeploy's schema: their keys, and what their values mean."""

import copy
from typing import Any

from mmengine.config import Config, ConfigDict

from ..errors import UserError, did_you_mean, listed
from .backends.registry import BACKENDS, all_backends, find_backend
from .settings import (
    DYNAMO,
    EXPORTERS,
    GREEDY,
    LEAST_AGREEMENT,
    METHODS,
    MINMAX,
    NMS,
    POOLING,
    PRECISIONS,
    PREPROCESSING,
    RESIZE,
    ROI_ALIGN,
    TORCHSCRIPT,
    Calibration,
    DeploySettings,
    InputShapes,
)

# Every key that is understood. What stands under IGNORED comes with configs of MMDeploy, and there
# is nothing for it to do here: post-processing is exact and takes its numbers from the model.
SCHEMA: dict[str, Any] = {
    'onnx_config': {
        'save_file': None,
        'opset_version': None,
        'input_names': None,
        'input_shape': None,
        'dynamic_axes': None,
        'exporter': None,
        'slim': None,
        'preprocessing': None,
        'nms': None,
        'pooling': None,
    },
    'codebase_config': {'type': None, 'task': None, 'model_type': None, 'with_argmax': None},
    'backend_config': {
        'type': None,
        'precision': None,
        'common_config': {
            'op_block_list': None,
            'node_block_list': None,
            'fp16_mode': None,
            'bf16_mode': None,
            'int8_mode': None,
            'fp8_mode': None,
            # and the options of the backends
        },
        'model_inputs': None,
    },
    'calib_config': {
        'num_images': None,
        'num_pictures': None,
        'method': None,
        'exclude': None,
        'exclude_worst': None,
        'max_drop': None,
        'num_held_out': None,
    },
    'verify_config': {'least_agreement': None},
}
IGNORED = {
    '': {'ir_config', 'partition_config', 'use_efficientnms'},
    'onnx_config': {
        'type',
        'export_params',
        'keep_initializers_as_inputs',
        'optimize',
        'output_names',
        'verbose',
    },
    'codebase_config': {'post_processing', 'update_config', 'export_postprocess_mask'},
    'backend_config.common_config': {
        'max_batch_size',
        'min_positive_val',
        'max_finite_val',
        'keep_io_types',
        'disable_shape_infer',
    },
    'calib_config': {'create_calib', 'calib_file'},
}
HALVES = 'fp16', 'bf16'
TASKS = {
    'mmdet': ('ObjectDetection', 'InstanceSegmentation'),
    'mmseg': ('Segmentation',),
    'mmpretrain': ('Classification',),
}


def read_settings(config: Config, scope: str) -> DeploySettings:
    """Checks a deploy config and returns what it says.

    Args:
        config: In MMDeploy's schema.
        scope: ``default_scope`` of the model's config, one of :data:`TASKS`.

    Raises:
        UserError: If a key is unknown, a value is not allowed, or two contradict.
    """
    if config.get('partition_config'):
        raise UserError(
            'partition_config: a graph that tools/deploy.py writes holds all of the model, from '
            'the images to the detections. Leave it out.'
        )
    _check_keys(config, _schema())
    onnx = config.get('onnx_config') or {}
    codebase = config.get('codebase_config') or {}
    backend = config.get('backend_config') or {}
    common = dict(backend.get('common_config') or {})
    _check_task(codebase, scope)
    kind = backend.get('type', 'onnxruntime')
    _one_of('backend_config.type', kind, BACKENDS)
    exporter = onnx.get('exporter', TORCHSCRIPT)
    _one_of('onnx_config.exporter', exporter, EXPORTERS)
    _one_of('onnx_config.nms', onnx.get('nms', GREEDY), NMS)
    _one_of('onnx_config.pooling', onnx.get('pooling', ROI_ALIGN), POOLING)
    if onnx.get('opset_version') not in (None, 11, EXPORTERS[exporter]):  # 11 is MMDeploy's
        raise UserError(
            f'onnx_config.opset_version is {onnx["opset_version"]}: exporter={exporter!r} writes '
            f'opset {EXPORTERS[exporter]}, which has every op that is needed.'
        )
    if list(onnx.get('input_names') or ['input']) != ['input']:
        raise UserError(
            f"onnx_config.input_names is {onnx['input_names']}, but graphs take ['input'] "
            '(and sizes). Leave it out.'
        )
    preprocessing = onnx.get('preprocessing', False)
    _one_of('onnx_config.preprocessing', preprocessing, PREPROCESSING)
    if (preprocessing, exporter) == (RESIZE, DYNAMO):
        raise UserError(
            f'onnx_config.preprocessing={RESIZE!r} needs exporter={TORCHSCRIPT!r}: the other one '
            'cannot write sizes that follow from sizes.'
        )
    precision, rest = _precision(backend, common)
    _check_computes(kind, precision)
    _check_rest(kind, rest)
    shape = _size(onnx.get('input_shape'))
    axes = (onnx.get('dynamic_axes') or {}).get('input')
    dynamic = set(axes) if axes is not None else {0, 2, 3} - ({2, 3} if shape else set())
    if shape and dynamic & {2, 3}:
        shape = None  # a size that only traces the graph
    if not shape and not {2, 3} <= dynamic:
        raise UserError(
            'onnx_config: a graph of fixed size needs input_shape=(WIDTH, HEIGHT); one of any size '
            "has dynamic_axes=dict(input={0: 'batch', 2: 'height', 3: 'width'})"
        )
    settings = DeploySettings(
        backend=kind,
        save_file=str(onnx.get('save_file') or 'end2end.onnx'),
        input_shape=shape,
        dynamic_batch=0 in dynamic,
        dynamic_size=shape is None,
        exporter=exporter,
        slim=bool(onnx.get('slim', True)),
        nms=onnx.get('nms', GREEDY),
        pooling=onnx.get('pooling', ROI_ALIGN),
        preprocessing=bool(preprocessing),
        resizing=preprocessing == RESIZE,
        with_argmax=bool(codebase.get('with_argmax', False)),
        precision=precision,
        rest=rest,
        calibration=_calibration(config.get('calib_config') or {}),
        least_agreement=_least_agreement(config.get('verify_config') or {}),
        profiles=[
            _profile(index, each, channels_last=bool(preprocessing))
            for index, each in enumerate(backend.get('model_inputs') or ())
        ],
        common=common,
    )
    find_backend(kind).check(settings)
    return settings


def _schema() -> dict[str, Any]:
    """:data:`SCHEMA` with the options of all backends: a config may be meant for several."""
    schema = copy.deepcopy(SCHEMA)
    for backend in all_backends():
        schema['backend_config']['common_config'].update(dict.fromkeys(backend.options))
    return schema


def _check_computes(kind: str, precision: str) -> None:
    backend = find_backend(kind)
    if precision in backend.precisions:
        return
    able = [each for each in all_backends() if precision in each.precisions]
    others = ' or '.join(f'type={each.name!r}' for each in able)
    raise UserError(
        f'backend_config: {precision} is for {listed([each.title for each in able])}; '
        f'{backend.title} has {listed(backend.precisions)}. Take {others}, or one of these.'
    )


def _check_rest(kind: str, rest: str) -> None:
    """MMDeploy's configs have FP16 beside INT8, where a backend without it computes in FP32."""
    if rest not in ('fp32', 'fp16', *find_backend(kind).rests):
        able = listed([each.title for each in all_backends() if rest in each.rests])
        raise UserError(
            f'backend_config.common_config sets int8_mode and {rest}_mode: what is not INT8 is '
            f'computed in {rest} by {able} alone. Leave {rest}_mode out.'
        )


def _check_keys(config: Any, schema: dict, path: str = '') -> None:
    for key, value in config.items():
        if key in IGNORED.get(path, ()):
            continue
        where = f'{path}.{key}' if path else key
        if key not in schema:
            expected = ', '.join(sorted(schema))
            raise UserError(
                f'deploy config: {where} is unknown.{did_you_mean(key, schema)} '
                f'Expected {"in " + path if path else "at the top"}: {expected}.'
            )
        if isinstance(schema[key], dict) and value is not None:
            if not isinstance(value, dict | ConfigDict):
                raise UserError(f'deploy config: {where} is {value!r}, expected a dict.')
            _check_keys(value, schema[key], where)


def _check_task(codebase: dict, scope: str) -> None:
    if codebase.get('type') not in (None, scope):
        raise UserError(
            f'codebase_config.type is {codebase["type"]!r}, but the model is of '
            f'{scope}. Leave it out: the task follows from the model.'
        )
    if codebase.get('task') is not None:
        _one_of('codebase_config.task', codebase['task'], TASKS[scope])
    if codebase.get('model_type') not in (None, 'end2end'):
        raise UserError(
            f'codebase_config.model_type is {codebase["model_type"]!r}, expected '
            "'end2end': the graph holds all of the model."
        )


def _precision(backend: dict, common: dict) -> tuple[str, str]:
    """Precision of the file, and what the rest of an INT8 file may be computed in.

    Takes what says so out of ``common``.
    """
    modes = {name for name in PRECISIONS[1:] if common.pop(f'{name}_mode', False)}
    for key in ('op_block_list', 'node_block_list'):
        if common.pop(key, None):
            raise UserError(
                f'backend_config.common_config.{key}: which layers are half is not for a config to '
                'say here: backbone, neck and heads are, post-processing is not. Leave it out.'
            )
    named = backend.get('precision')
    if named is None:
        return _of_modes(modes)
    _one_of('backend_config.precision', named, PRECISIONS)
    if not modes <= {named, *(HALVES if named == 'int8' else ())}:
        raise UserError(
            f'backend_config.precision is {named!r}, but common_config sets '
            f'{", ".join(f"{mode}_mode" for mode in sorted(modes))}. Leave one of them out.'
        )
    return _of_modes({*modes, named})


def _of_modes(modes: set[str]) -> tuple[str, str]:
    rest = [half for half in HALVES if modes == {half, 'int8'}]
    if rest:
        return 'int8', rest[0]
    if len(modes) > 1:
        names = ', '.join(f'{each}_mode' for each in sorted(modes))
        raise UserError(
            f'backend_config.common_config sets {names}, which no file has together: leave all but '
            'one out.'
        )
    return next(iter(modes), 'fp32'), 'fp32'


def _one_of(key: str, value: Any, allowed: Any) -> None:
    if value not in allowed:
        raise UserError(f'{key} is {value!r}, expected one of: {", ".join(map(str, allowed))}.')


def _size(shape: Any) -> tuple[int, int] | None:
    """Height and width from MMDeploy's width and height."""
    if shape is None:
        return None
    if (
        not isinstance(shape, list | tuple)
        or len(shape) != 2
        or not all(isinstance(side, int) and side >= 32 for side in shape)
    ):
        raise UserError(
            f'onnx_config.input_shape is {shape!r}, expected (WIDTH, HEIGHT) of at '
            'least 32 pixels each.'
        )
    return shape[1], shape[0]


def _calibration(config: dict) -> Calibration:
    calibration = Calibration(
        num_images=config.get('num_images', config.get('num_pictures', 100)),  # its older name
        method=config.get('method', MINMAX),
        exclude=tuple(config.get('exclude') or ()),
        exclude_worst=config.get('exclude_worst', 0),
        max_drop=config.get('max_drop'),
        num_held_out=config.get('num_held_out', 200),
    )
    _one_of('calib_config.method', calibration.method, METHODS)
    for name in ('num_images', 'num_held_out'):
        value = getattr(calibration, name)
        if not isinstance(value, int) or value < 1:
            raise UserError(f'calib_config.{name} is {value!r}, expected a number of at least 1.')
    drop = calibration.max_drop
    number = isinstance(drop, int | float) and not isinstance(drop, bool)
    if drop is not None and not (number and 0 <= drop < 100):
        raise UserError(
            f'calib_config.max_drop is {drop!r}, expected points of a metric from 0 to 100, as 0.5.'
        )
    if not isinstance(calibration.exclude_worst, int) or calibration.exclude_worst < 0:
        raise UserError(
            f'calib_config.exclude_worst is {calibration.exclude_worst!r}, expected a '
            'number of layers.'
        )
    return calibration


def _least_agreement(config: dict) -> float:
    share = config.get('least_agreement', LEAST_AGREEMENT)
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UserError(
            f'verify_config.least_agreement is {share!r}, expected a share from 0 to 1.'
        )
    return float(share)


def _profile(index: int, model_input: Any, channels_last: bool) -> InputShapes:
    where = f'backend_config.model_inputs.{index}.input_shapes.input'
    shapes = ((model_input or {}).get('input_shapes') or {}).get('input') or {}
    names = ('min_shape', 'opt_shape', 'max_shape')
    missing = [name for name in names if len(shapes.get(name) or ()) != 4]
    layout = '(B, H, W, 3)' if channels_last else '(B, 3, H, W)'
    if missing:
        raise UserError(f'{where}: {", ".join(missing)} must be {layout}.')
    least, best, most = (tuple(shapes[name]) for name in names)
    if any(shape[3 if channels_last else 1] != 3 for shape in (least, best, most)):
        raise UserError(
            f'{where}: min_shape={least}, opt_shape={best}, max_shape={most} must be {layout}, as '
            f'onnx_config.preprocessing is {channels_last and "on" or "off"}.'
        )
    if not all(a <= b <= c for a, b, c in zip(least, best, most)):
        raise UserError(
            f'{where}: min_shape={least}, opt_shape={best}, max_shape={most} must not '
            'shrink in any number.'
        )
    return InputShapes(least, best, most)
