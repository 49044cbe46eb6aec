"""Description of a model in its work dir, in the files and words of MMDeploy.

``deploy.json`` and ``pipeline.json`` are for the runtime, ``detail.json`` is for the reader.
"""

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..engine.parts import leaf_datasets
from ..environment import environment
from ..errors import UserError
from ..files import write_whole
from ..runtime.pipeline import Pipeline
from ..runtime.sessions.opening import RUNNERS
from ..version import __version__
from ..weights.checkpoints import checkpoint_file
from .backends.registry import all_backends
from .settings import DeploySettings

RECORD = 'deploy_report.json'  # beside these files: what was compared and measured
Description = dict[str, dict[str, Any]]
PREPROCESSORS = 'DetDataPreprocessor', 'SegDataPreProcessor', 'ClsDataPreprocessor'
PACKING = 'PackDetInputs', 'PackSegInputs', 'PackInputs'
TOOLS = 'numpy', 'opencv-python', 'opencv-python-headless', 'onnx'


def describe(
    config: Config,
    settings: DeploySettings,
    *,
    net: str,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    checkpoint: str | Path,
) -> Description:
    """Describes an exported model.

    Args:
        config: The model's config.
        settings: What was made of it.
        net: Name of the ONNX file or the engine in the work dir.
        classes: Names by label.
        palette: Colours by label, RGB.
        checkpoint: The weights that were exported, or the work dir of their training.

    Returns:
        Contents of ``deploy.json``, ``pipeline.json`` and ``detail.json`` by these names.

    Raises:
        UserError: If the runtime cannot do what the test pipeline or the data preprocessor does.
    """
    transforms = transforms_of(config)
    Pipeline(transforms, config.filename)  # refuses what it does not know
    task, component, params = _postprocessing(config)
    tasks = [
        dict(
            type='Task',
            module='Transform',
            name='Preprocess',
            input=['img'],
            output=['prep_output'],
            transforms=transforms,
        ),
        dict(
            type='Task',
            module='Net',
            name=config.model.type.lower(),
            input=['prep_output'],
            output=['infer_output'],
            input_map=dict(img='input'),
        ),
        dict(
            type='Task',
            module=config.default_scope,
            name='postprocess',
            component=component,
            params=params,
            input=['prep_output', 'infer_output'],
            output=['post_output'],
        ),
    ]
    model = dict(
        name=config.model.type.lower(),
        net=net,
        weights='',
        backend=RUNNERS[Path(net).suffix],
        precision=settings.precision.upper(),
        in_graph=in_graph(settings),
        batch_size=1,
        dynamic_shape=settings.dynamic_size,
    )
    return {
        'deploy.json': dict(
            version=__version__,
            task=task,
            models=[model],
            customs=[],
        ),
        'pipeline.json': dict(
            pipeline=dict(input=['img'], output=['post_output'], tasks=tasks),
            classes=list(classes),
            palette=[list(map(int, color)) for color in palette],
        ),
        'detail.json': _detail(config, settings, checkpoint_file(checkpoint)),
    }


def in_graph(settings: DeploySettings) -> list[str]:
    """The transforms of ``pipeline.json`` that the graph does, not its host."""
    steps = ['Resize'] if settings.resizing else []
    return [*steps, 'Normalize', 'Pad'] if settings.preprocessing else steps


def write_description(work_dir: str | Path, description: Description) -> list[Path]:
    """Writes the files of :func:`describe`, each whole or not at all, and returns their paths."""
    paths = []
    for name, content in description.items():
        path = Path(work_dir) / name
        write_whole(path, json.dumps(content, indent=4) + '\n')
        paths.append(path)
    return paths


def transforms_of(config: Config) -> list[dict[str, Any]]:
    """Test pipeline and data preprocessor of a config as MMDeploy's list of transforms.

    Raises:
        UserError: If there is no pipeline that packs images, or an unknown data preprocessor.
    """
    dataset = next((leaf for _, leaf in leaf_datasets(config, 'test')), {})
    steps = [_plain(step) for step in dataset.get('pipeline') or ()]
    steps = [step for step in steps if 'Annotation' not in step['type']]
    if not steps or steps[-1]['type'] not in PACKING:
        raise UserError(
            f'{config.filename} has no test_dataloader whose pipeline ends with one of: '
            f'{", ".join(PACKING)}.'
        )
    *steps, pack = steps
    for step in steps:
        if step['type'] == 'Resize' and 'scale' in step:
            step['size'] = step.pop('scale')
    return [
        *steps,
        *_preprocessing(config),
        dict(type='ImageToTensor', keys=['img']),
        dict(
            type='Collect',
            keys=['img'],
            meta_keys=list(
                pack.get('meta_keys') or ('img_path', 'ori_shape', 'img_shape', 'scale_factor')
            ),
        ),
    ]


def _preprocessing(config: Config) -> list[dict[str, Any]]:
    """What the model's data preprocessor does at test time."""
    settings = _plain(
        config.model.get('data_preprocessor')
        or config.get('data_preprocessor')
        or dict(type='missing')
    )
    if settings['type'] not in PREPROCESSORS:
        raise UserError(
            f'{config.filename}: model.data_preprocessor is a {settings["type"]}, which the '
            f'runtime does not know. It knows: {", ".join(PREPROCESSORS)}.'
        )
    swaps = any(settings.get(key) for key in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb'))
    steps = [
        dict(
            type='Normalize',
            mean=settings.get('mean') or [0, 0, 0],
            std=settings.get('std') or [1, 1, 1],
            to_rgb=swaps,
        )
    ]
    if settings['type'] != 'SegDataPreProcessor':
        padding = dict(size_divisor=settings.get('pad_size_divisor', 1))
        value = settings.get('pad_value', 0)
    else:  # pads images of the training to `size`, but those of the test by `test_cfg` only
        test = settings.get('test_cfg') or {}
        padding = {key: test[key] for key in ('size', 'size_divisor') if test.get(key)}
        if 'size' in padding:
            padding['size'] = list(reversed(padding['size']))  # height, width
        value = settings.get('pad_val', 0)
    return [*steps, *([dict(type='Pad', **padding, pad_val=dict(img=value))] if padding else [])]


def _postprocessing(config: Config) -> tuple[str, str, dict[str, Any]]:
    """MMDeploy's task, and the component and the parameters of its post-processing."""
    model = config.model
    if config.default_scope == 'mmpretrain':
        head = model['head']
        return 'Classifier', 'LinearCls', dict(type=head['type'], num_classes=head['num_classes'])
    if 'decode_head' in model:
        return 'Segmentor', *_segmentation(model)
    return 'Detector', *_detection(model)


def _detection(model: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """MMDeploy's component and parameters of the postprocessing of boxes and masks."""
    params = _plain(model['test_cfg'])
    params.update(
        {
            key: params['rcnn'][key]
            for key in ('score_thr', 'nms', 'max_per_img', 'mask_thr_binary')
            if key in params.get('rcnn', {})
        }
    )
    if (model.get('roi_head') or {}).get('mask_head'):
        params.setdefault('mask_thr_binary', 0.5)
        return 'ResizeInstanceMask', dict(params, is_resize_mask=True)
    return 'ResizeBBox', params


def _segmentation(model: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """MMDeploy's component and parameters of the postprocessing of label maps."""
    head = model['decode_head']
    head = head[-1] if isinstance(head, list | tuple) else head
    params = dict(
        type=head['type'],
        num_classes=head['num_classes'],
        align_corners=head.get('align_corners', False),
    )
    if head.get('threshold') is not None:
        params['threshold'] = head['threshold']
    return 'ResizeMask', params


def _detail(config: Config, settings: DeploySettings, checkpoint: Path) -> dict[str, Any]:
    """Where the files come from."""
    tools = *TOOLS, *(package for each in all_backends() for package in each.packages)
    return dict(
        version=__version__,
        date=datetime.datetime.now().astimezone().isoformat(timespec='seconds'),
        codebase=dict(
            task=config.model.type,
            codebase=config.default_scope,
            config=str(config.filename),
            pth=str(checkpoint),
            sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        ),
        settings=asdict(settings),
        environment=environment() | {name: found for name in tools if (found := _version(name))},
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a config as plain dicts, with the bare name of its type."""
    plain = settings.to_dict() if hasattr(settings, 'to_dict') else dict(settings)
    if 'type' in plain:
        plain['type'] = str(plain['type']).split('.')[-1].removesuffix("'>")
    return plain
