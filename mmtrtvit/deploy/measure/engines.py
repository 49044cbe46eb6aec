"""Check of engines on a machine with a GPU: they are compared with their ONNX file, and timed."""

import platform
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from ...environment import environment
from ...errors import UserError
from ...runtime import Model
from ...runtime.results import Classification, Detections, LabelMap, Result
from ...runtime.sessions.onnx import OnnxSession
from ...runtime.sessions.tensorrt import TensorRTSession
from ...runtime.sessions.tensorrt_package import NoTensorRT, import_tensorrt
from ..backends.tensorrt.backend import open_engine
from ..backends.tensorrt.build import EngineUnavailable, build_engine
from ..backends.tensorrt.layers import engine_layers
from ..backends.tensorrt.options import EngineOptions, ShapeRange, read_graph
from ..graphs.layer_times import by_stage
from ..verify.compare import agree, compare
from .benchmark import PROFILED_ROUNDS
from .latency import measure_latency
from .pipelines import open_model

WARMUP = 5


def check_engines(
    work_dir: str | Path,
    images: Sequence[str | Path],
    *,
    options: Sequence[EngineOptions],
    folder: str | Path,
    device: str = 'cuda:0',
    rounds: int = 50,
    evaluate: Callable[[Path], dict[str, float]] | None = None,
) -> dict[str, Any]:
    """Builds engines of an exported model, and compares them with ONNX Runtime on the CPU.

    Args:
        work_dir: Folder that ``tools/deploy.py`` wrote.
        images: Files to compare on; the first one is timed.
        options: One engine is built with each.
        folder: Where the engines go.
        device: The GPU.
        rounds: Rounds of timing.
        evaluate: Returns the metrics of an ONNX file or an engine.

    Returns:
        All that a report needs, as plain data: ``environment``, ``graph``, ``metrics`` of the ONNX
        file, and a list ``engines``. An engine that could not be built or run has an ``error``.

    Raises:
        EngineUnavailable: If there is no TensorRT or no GPU here.
        UserError: If the folder or an image cannot be used.
    """
    if not images:
        raise UserError('there is no image to compare on.')
    onnx = onnx_file(work_dir)
    reference = open_model(work_dir, OnnxSession(onnx))
    prepared = [reference.prepare(image) for image in images]
    expected = [reference.infer([each])[0] for each in prepared]
    graph = read_graph(onnx)
    shapes = [(1, *each.image.shape) for each in prepared]
    ranges = ShapeRange(
        *(tuple(map(int, pick(shapes, axis=0))) for pick in (np.min, np.median, np.max))
    )
    profiles = [dict(input=ranges)] if None in graph.inputs['input'] else []
    engines: list[dict[str, Any]] = []
    report = dict(
        environment=describe_environment(),
        graph=dict(
            path=str(onnx),
            inputs=graph.inputs,
            opset=graph.opset,
            precision=graph.precision,
            nodes=len(graph.nodes),
        ),
        images=[str(image) for image in images],
        metrics=evaluate(onnx) if evaluate else {},
        engines=engines,
    )
    for each in options:
        name = f'{each.precision or graph.precision}.engine'
        entry: dict[str, Any] = dict(options=asdict(each))
        engines.append(entry)
        try:
            built = build_engine(onnx, Path(folder, name), options=each, profiles=profiles)
            entry['build'] = {**asdict(built), 'path': str(built.path)}
            session = open_engine(built.path, device, host_code=True)
            entry |= compare_and_time(
                work_dir,
                session,
                reference=reference,
                prepared=prepared,
                expected=expected,
                rounds=rounds,
            )
            if evaluate:
                entry['metrics'] = evaluate(built.path)
        except EngineUnavailable:
            raise
        except Exception:  # the report is to say what went wrong
            entry['error'] = traceback.format_exc()
    return report


def onnx_file(work_dir: str | Path) -> Path:
    """The ONNX file of a folder that ``tools/deploy.py`` wrote.

    Raises:
        UserError: If there is not exactly one.
    """
    files = sorted(Path(work_dir).glob('*.onnx'))
    if len(files) != 1:
        names = ', '.join(file.name for file in files) or 'none'
        raise UserError(
            f'{work_dir}: expected one *.onnx, as tools/deploy.py writes it, but there is: {names}.'
        )
    return files[0]


def compare_and_time(
    work_dir: str | Path,
    session: TensorRTSession,
    *,
    reference: Model,
    prepared: Sequence[Any],
    expected: Sequence[Result],
    rounds: int,
) -> dict[str, Any]:
    """Differences, latencies and time of each stage of an engine, as plain data."""
    model = open_model(work_dir, session)
    found = [model.infer([each])[0] for each in prepared]
    inputs = model.graph_inputs(prepared[:1])
    differences = compare(map(as_sample, found), map(as_sample, expected))
    latencies = measure_latency(
        {
            'tensorrt': partial(session.run, inputs),
            'onnxruntime on the CPU': partial(reference.session.run, inputs),
        },
        1,
        rounds=rounds,
        warmup=WARMUP,
    )
    times = session.time_layers(inputs, WARMUP + PROFILED_ROUNDS)[WARMUP:]
    layers = engine_layers(times, session.layers())
    return dict(
        found=[outline(each) for each in found],
        differences=[{**asdict(each), 'within': each.within} for each in differences],
        agree=agree(differences),
        latencies={name: asdict(each) for name, each in latencies.items()},
        stages=[asdict(each) for each in by_stage(layers)],
    )


def outline(result: Result) -> Any:
    """The number of detections, the shares of classes, or the most likely class."""
    if isinstance(result, Detections):
        return len(result)
    return result.shares() if isinstance(result, LabelMap) else result.label


def as_sample(result: Result) -> BaseDataElement:
    """A result of the runtime in the classes of MMEngine."""
    if isinstance(result, LabelMap):
        labels = torch.from_numpy(result.labels.astype(np.int64))[None]
        return BaseDataElement(pred_sem_seg=PixelData(data=labels))
    if isinstance(result, Classification):
        return BaseDataElement(pred_score=torch.from_numpy(result.scores))
    instances = InstanceData(
        bboxes=torch.from_numpy(result.boxes),
        scores=torch.from_numpy(result.scores),
        labels=torch.from_numpy(result.labels),
    )
    if result.cells is not None:
        instances.masks = torch.from_numpy(result.masks)
    return BaseDataElement(pred_instances=instances)


def describe_environment() -> dict[str, Any]:
    """Versions of all that takes part, and the GPU."""
    from importlib.metadata import PackageNotFoundError, version

    described: dict[str, Any] = dict(environment(), machine=platform.platform())
    for package in ('onnx', 'onnxruntime', 'numpy'):
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            described[package] = 'not installed'
    try:
        described['tensorrt'] = import_tensorrt().__version__
    except NoTensorRT as error:
        described['tensorrt'] = str(error)
    if torch.cuda.is_available():
        described['gpu'] = torch.cuda.get_device_name()
        described['compute capability'] = '.'.join(map(str, torch.cuda.get_device_capability()))
        described['cuda'] = torch.version.cuda
    return described


def summary(report: dict[str, Any]) -> list[str]:
    """A line for each engine."""
    lines = []
    for entry in report['engines']:
        name = entry['options']['precision'] or report['graph']['precision']
        if 'error' in entry:
            lines.append(f'{name}: {entry["error"].strip().splitlines()[-1]}')
            continue
        apart = ', '.join(
            f'{each["output"]} {each["largest"]:.2g}' for each in entry['differences']
        )
        lines.append(
            f'{name}: {entry["latencies"]["tensorrt"]["median"]:.2f} ms, {_judgement(entry)} '
            f'(largest difference: {apart})'
        )
        for metric, value in entry.get('metrics', {}).items():
            lines.append(
                f'  {metric} {value:.4f}, of the ONNX file '
                f'{report["metrics"].get(metric, float("nan")):.4f}'
            )
    return lines


def _judgement(entry: dict[str, Any]) -> str:
    if not any(each['count'] or each['unmatched'] for each in entry['differences']):
        return 'not compared, as neither side finds anything: name images with objects'
    return 'agrees' if entry['agree'] else 'differs'
