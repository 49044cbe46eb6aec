"""Triton repository: a work dir as a model repository for NVIDIA's Triton server."""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import whole_file, write_whole
from ..runtime.pipeline import Pipeline
from ..runtime.sessions.base import Tensor
from ..runtime.sessions.opening import ENGINES, ONNX, open_session
from ..runtime.work_dir import WorkDir, read_work_dir
from .external_data import external_files
from .graphs.graph import load_onnx
from .triton_serving import Serving, instance_group, response_cache, version_policy, warm_up

TYPES = {
    'float32': 'TYPE_FP32',
    'float16': 'TYPE_FP16',
    'uint8': 'TYPE_UINT8',
    'int32': 'TYPE_INT32',
    'int64': 'TYPE_INT64',
}
# Normalises pixels and fills the padding, as the pipeline does.
PREPROCESSING = """
<ir_version: 8, opset_import: ["" : 17]>
preprocessing (uint8[B, H, W, 3] input{sizes}) => (float[B, 3, H, W] normalised)
<int64[3] order = {order}, float[3] mean = {mean}, float[3] std = {std}, float value = {value},
 int64 none = {{0}}, int64 one = {{1}}, int64 two = {{2}}, int64[3] ends = {{1, 2, 3}}> {{
    pixels = Cast <to = 1> (input)
    channels = Gather <axis = 3> (pixels, order)
    centred = Sub (channels, mean)
    scaled = Div (centred, std)
    {steps}
}}"""
WHOLE = 'normalised = Transpose <perm = [0, 3, 1, 2]> (scaled)'
PADDED = """
    planes = Transpose <perm = [0, 3, 1, 2]> (scaled)
    shape = Shape (input)
    height = Gather (shape, one)
    width = Gather (shape, two)
    row_numbers = Range (none, height, one)
    column_numbers = Range (none, width, one)
    row_places = Cast <to = 1> (row_numbers)
    columns = Cast <to = 1> (column_numbers)
    row_axis = Constant <value: tensor = int64[1] {1}> ()
    rows = Unsqueeze (row_places, row_axis)
    heights_flat = Gather <axis = 1> (sizes, none)
    widths_flat = Gather <axis = 1> (sizes, one)
    heights = Unsqueeze (heights_flat, ends)
    widths = Unsqueeze (widths_flat, ends)
    above = Less (rows, heights)
    left = Less (columns, widths)
    inside = And (above, left)
    normalised = Where (inside, planes, value)"""


def export_triton(
    work_dir: str | Path,
    repository: str | Path,
    *,
    name: str | None = None,
    serving: Serving | None = None,
    preprocessing: bool = False,
) -> list[Path]:
    """Writes a model into a model repository.

    Args:
        work_dir: Folder that ``tools/deploy.py`` wrote.
        repository: Folder of the models of a server.
        name: Name of the model; default: the name of the work dir.
        serving: How to run it; default: on the CPU, or on the first GPU for an engine.
        preprocessing: Whether clients send uint8 images ``(B, H, W, 3)``, BGR, a quarter of the
            bytes, and the server normalises them: an ensemble of two models.

    Returns:
        The folders of the models, the one for clients first.

    Raises:
        UserError: If the work dir cannot be used, or the model cannot be served in this way.
    """
    model = read_work_dir(work_dir)
    if model.net.resolve().parent != model.path.resolve():
        raise UserError(
            f'{model.net} is a link to {model.net.resolve()}: what is copied to a server must be '
            'in the folder itself. Copy the file there.'
        )
    if model.net.suffix not in (*ONNX, *ENGINES):
        raise UserError(
            f'{model.net} is for OpenVINO, but a repository takes ONNX files and engines: deploy '
            'with configs/deploy/onnxruntime.py into another work dir.'
        )
    engine = model.net.suffix in ENGINES
    serving = serving or Serving(gpus=(0,) if engine else ())
    if engine and not serving.gpus:
        raise UserError(f'{model.net.name} is an engine, which runs on a GPU only: name one.')
    if serving.profiles and not engine:
        raise UserError(f'{model.net.name} is no engine: it has no profiles to choose from.')
    name = name or Path(work_dir).resolve().name
    inputs, outputs = _tensors(model)
    batch = _batch_size(model, inputs, serving)
    repository = Path(repository)
    if not preprocessing:
        return [_write_network(repository, name, model, inputs, outputs, batch, serving)]
    pixels, graph = _preprocessing(model, inputs, batch)
    network, before = f'{name}_network', f'{name}_preprocessing'
    normalised = Tensor('normalised', (None, 3, None, None), np.dtype('float32'))
    config = _config(before, pixels, [normalised], batch, backend='onnxruntime')
    config += instance_group(Serving(instances=serving.instances)) + version_policy(serving)
    folder = _write(repository, before, config, {'model.onnx': graph}, version=serving.version)
    folders = [folder, _write_network(repository, network, model, inputs, outputs, batch, serving)]
    config = _config(name, pixels, outputs, batch, model, platform='ensemble')
    config += _ensemble(before, network, pixels, inputs, outputs)
    config += version_policy(serving) + response_cache(serving)
    (repository / name / str(serving.version)).mkdir(parents=True, exist_ok=True)
    return [_write(repository, name, config, {}, model, serving.version), *folders]


def _tensors(model: WorkDir) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Inputs and outputs; of an engine from the ONNX file beside it, which takes no GPU to read."""
    onnx = model.net.with_suffix('.onnx')
    session = open_session(onnx if onnx.is_file() else model.net)
    return session.inputs, session.outputs


def _batch_size(model: WorkDir, inputs: Sequence[Tensor], serving: Serving) -> int:
    """Most images at once; 0, for Triton, if the graph has the batch among its fixed sides."""
    if inputs[0].shape[0] is not None:
        return 0
    sizes = [serving.max_batch_size]
    if model.net.suffix in ENGINES and (model.path / 'detail.json').is_file():
        detail = json.loads((model.path / 'detail.json').read_text(encoding='utf-8'))
        sizes += [each['max_shape'][0] for each in detail['settings']['profiles']]
    return min(sizes)


def _preprocessing(
    model: WorkDir, inputs: Sequence[Tensor], batch: int
) -> tuple[list[Tensor], bytes]:
    """Inputs and ONNX file of the model that normalises pixels."""
    import onnx

    if inputs[0].dtype != np.float32:
        raise UserError(f'{model.net.name} takes {inputs[0].dtype} images already.')
    if not batch:
        raise UserError(
            f'{model.net.name} takes {inputs[0].shape[0]} images, no more and no '
            'fewer. Export it for any number to have the server normalise them.'
        )
    pipeline = Pipeline(model.transforms, model.path / 'pipeline.json')
    padded = any(each.name == 'sizes' for each in inputs)
    if pipeline.padding and not pipeline.padding.idle and not padded:
        raise UserError(
            f'{model.path / "pipeline.json"} pads images, but the graph does not take their '
            'sizes, so a server cannot know the padding.'
        )
    value = pipeline.padding.value if pipeline.padding else 0
    if isinstance(value, tuple):
        raise UserError(
            f'{model.path / "pipeline.json"} pads each channel with a number of its own, {value}, '
            'but a server can pad with one number only.'
        )
    text = PREPROCESSING.format(
        sizes=', float[B, 2] sizes' if padded else '',
        steps=PADDED if padded else WHOLE,
        order='{2, 1, 0}' if pipeline.to_rgb else '{0, 1, 2}',
        value=_braces([value]),
        mean=_braces(pipeline.mean),
        std=_braces(pipeline.std),
    )
    graph = onnx.parser.parse_model(text)
    onnx.checker.check_model(graph, full_check=True)
    pixels = Tensor('input', (None, None, None, 3), np.dtype('uint8'))
    return [pixels, *(each for each in inputs if each.name == 'sizes')], graph.SerializeToString()


def _braces(values: Iterable[float]) -> str:
    return '{' + ', '.join(f'{float(value):.9g}' for value in values) + '}'


def _write_network(
    repository: Path,
    name: str,
    model: WorkDir,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    batch: int,
    serving: Serving,
) -> Path:
    engine = model.net.suffix in ENGINES
    config = _config(
        name, inputs, outputs, batch, model, backend='tensorrt' if engine else 'onnxruntime'
    )
    warming, samples = warm_up(serving, inputs, batch)
    config += instance_group(serving) + version_policy(serving) + response_cache(serving) + warming
    for file, content in samples.items():
        write_whole(repository / name / 'warmup' / file, content)
    if batch:
        config += f'dynamic_batching {{ max_queue_delay_microseconds: {serving.queue_delay} }}\n'
    if engine:
        files: dict[str, Path | bytes] = {'model.plan': model.net}
    else:
        files = {**_external_weights(model.net), 'model.onnx': model.net}
    return _write(repository, name, config, files, model, serving.version)


def _external_weights(net: Path) -> dict[str, Path]:
    """Returns the files beside a model that hold its weights, by their names."""
    weights = external_files(load_onnx(net, weights=False), net)
    if above := [each for each in weights if '..' in Path(each).parts]:
        raise UserError(
            f'{net} has weights in {above[0]!r}: a server takes those in or below the folder '
            'of the model, by a name without "..".'
        )
    return weights


def _write(
    repository: Path,
    name: str,
    config: str,
    files: dict[str, Path | bytes],
    model: WorkDir | None = None,
    version: int = 1,
) -> Path:
    folder = repository / name
    for file, content in files.items():
        path = folder / str(version) / file
        if isinstance(content, bytes):
            write_whole(path, content)
        else:
            with whole_file(path) as part:
                shutil.copyfile(content, part)
    if model and model.classes:
        write_whole(folder / 'labels.txt', '\n'.join(model.classes) + '\n')
    write_whole(folder / 'config.pbtxt', config)  # the last: a server that polls looks for it
    return folder


def _config(
    name: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    batch: int,
    model: WorkDir | None = None,
    **kind: str,
) -> str:
    """The part of ``config.pbtxt`` that all kinds of models have."""
    labels = bool(model and model.classes)
    kinds = '\n'.join(f'{key}: {_text(value)}' for key, value in kind.items())
    tensors = [('input', each, False) for each in inputs]
    tensors += [('output', each, labels and _of_classes(each)) for each in outputs]
    parts = ''.join(f'{key} {_tensor(each, batch, named)}\n' for key, each, named in tensors)
    return f'name: {_text(name)}\n{kinds}\nmax_batch_size: {batch}\n{parts}'


def _of_classes(tensor: Tensor) -> bool:
    """Whether an output has the classes of objects, or a classifier's probability of each."""
    return tensor.name == 'labels' or (tensor.name == 'output' and len(tensor.shape) == 2)


def _tensor(tensor: Tensor, batch: int, labels: bool) -> str:
    kind = TYPES.get(tensor.dtype.name)
    if kind is None:
        raise UserError(f'{tensor.name} holds {tensor.dtype}, which cannot be served.')
    dims = ', '.join(str(side or -1) for side in tensor.shape[1 if batch else 0 :])
    label = ' label_filename: "labels.txt"' if labels else ''
    return f'{{ name: {_text(tensor.name)} data_type: {kind} dims: [ {dims} ]{label} }}'


def _ensemble(
    before: str,
    network: str,
    pixels: Sequence[Tensor],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> str:
    first = {each.name: each.name for each in pixels}
    second = {each.name: 'normalised' if each.name == 'input' else each.name for each in inputs}
    return (
        'ensemble_scheduling {\n'
        + _step(before, first, dict(normalised='normalised'))
        + _step(network, second, {each.name: each.name for each in outputs})
        + '}\n'
    )


def _step(name: str, inputs: dict[str, str], outputs: dict[str, str]) -> str:
    maps = ''.join(
        f' {kind} {{ key: {_text(key)} value: {_text(value)} }}'
        for kind, names in (('input_map', inputs), ('output_map', outputs))
        for key, value in names.items()
    )
    return f'  step {{ model_name: {_text(name)} model_version: -1{maps} }}\n'


def _text(value: Any) -> str:
    return json.dumps(str(value), ensure_ascii=True)
