"""The way from a trained model to a verified file, step by step."""

import copy
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from ..engine.config import read_config
from ..engine.predictor import Predictor, load
from ..errors import UserError
from ..media import write_picture
from ..models import fuse
from . import support
from .compare import Difference, compare
from .description import describe, write_description
from .engine_options import read_options
from .evaluation import deployed
from .runners import OnnxRunner, Runner
from .settings import DeploySettings, read_settings
from .tensorrt_runner import TensorRTRunner
from .to_onnx import export
from .to_tensorrt import EngineUnavailable, build_engine

logger = logging.getLogger(__name__)

EXAMPLE_SIZE = 480, 640  # traces a graph of any size
SCORE_THRESHOLD = 0.3  # of what is drawn
CAPTION = 24  # pixels


@dataclass
class DeployResult:
    """What came out.

    Attributes:
        onnx: The ONNX file.
        engine: TensorRT's engine, None if none was asked for or none could be built here.
        nodes: Number of its nodes.
        megabytes: Its size.
        differences: Predictions of the file against PyTorch's; empty if not verified.
        pictures: Drawn predictions.
        seconds: Time of each step.
        notes: What the user should know.
        no_engine: Why there is no engine although one was asked for, and how to build it.
    """

    onnx: Path
    engine: Path | None = None
    nodes: int = 0
    megabytes: float = 0.
    differences: list[Difference] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    no_engine: str = ''

    @property
    def verified(self) -> bool:
        """Whether nothing is further apart than rounding explains."""
        return all(difference.within for difference in self.differences)

    def add(self, differences: list[Difference], pictures: list[Path]) -> None:
        """Adds a comparison."""
        self.differences += differences
        self.pictures += [picture for picture in pictures if picture not in self.pictures]


def deploy(
    settings: DeploySettings,
    config: Config,
    checkpoint: str | Path,
    pictures: Sequence[str | Path],
    work_dir: str | Path,
    device: str = 'cpu',
    verify: bool = True,
) -> DeployResult:
    """Exports a trained model, and compares its predictions on pictures with those of the files.

    Args:
        settings: What to make of it, see :func:`read_deploy_config`.
        config: Config of the model.
        checkpoint: Its weights, or the work dir of its training.
        pictures: Files to compare on; the first is drawn.
        work_dir: Folder to write to.
        device: Where the model and the file run.
        verify: Whether to compare.

    Raises:
        UserError: If the config, the weights or a picture cannot be used, or a part of the model
            cannot be exported.
    """
    if verify and not pictures:
        raise UserError('there is no picture to compare on: name one, or pass --no-verify.')
    work_dir = Path(work_dir)
    result = DeployResult(work_dir / settings.save_file)
    with _step('load', f'loading {checkpoint}', result):
        predictor = load(config, checkpoint, device)
        support.check(predictor.model, settings)
        images = [predictor.read(picture) for picture in pictures]
    with _step('export', f'exporting with the {settings.exporter} exporter', result):
        export_model(predictor.model, settings, result.onnx, device)
    result.nodes, result.megabytes = describe_file(result.onnx)
    if verify:
        with _step('verify', f'comparing {len(images)} picture(s) with PyTorch', result):
            result.add(*verify_on(predictor, OnnxRunner(result.onnx, device), images, work_dir))
    if settings.backend == 'tensorrt':
        with _step('engine', 'building the engine', result):
            add_engine(result, settings)
        if verify and result.engine:
            with _step('verify engine', 'comparing the engine with PyTorch', result):
                runner = TensorRTRunner(result.engine, device)
                result.add(*verify_on(predictor, runner, images, work_dir))
    describe_into(result, config, settings, predictor, checkpoint)
    return result


def add_engine(result: DeployResult, settings: DeploySettings) -> None:
    """Builds the engine beside the ONNX file, or notes why there can be none here."""
    options, profiles = read_options(settings)
    path = result.onnx.with_suffix('.engine')
    try:
        report = build_engine(result.onnx, path, options, profiles, logger.info)
    except EngineUnavailable as error:
        result.no_engine = str(error)
    else:
        result.engine = path
        result.notes += report.notes


def describe_into(
    result: DeployResult, config: Config, settings: DeploySettings, predictor: Predictor,
    checkpoint: str | Path,
) -> None:
    """Writes what :mod:`mmtrtvit.runtime` reads; a model that it cannot run gets a note."""
    try:
        description = describe(
            config, settings, (result.engine or result.onnx).name, predictor.classes,
            predictor.visualizer.dataset_meta['palette'], checkpoint)
    except UserError as error:
        result.notes.append(f'mmtrtvit.runtime cannot run this model: {error}')
    else:
        write_description(result.onnx.parent, description)


def read_deploy_config(
    path: str | Path, scope: str, options: dict[str, Any] | None = None
) -> DeploySettings:
    """Reads a deploy config in MMDeploy's schema.

    Args:
        path: The file.
        scope: ``default_scope`` of the model's config, mmdet or mmseg.
        options: Values by dotted key.

    Raises:
        UserError: If the file, a key or a value cannot be used.
    """
    config = read_config(path, options)
    for key in ('work_dir', 'launcher'):  # of a run, added by read_config
        config.pop(key, None)
    return read_settings(config, scope)


def export_model(
    model: nn.Module, settings: DeploySettings, path: Path, device: str = 'cpu'
) -> None:
    """Writes a model's fused copy as an ONNX file; :func:`~.support.check` the model first."""
    module = support.exportable(fuse(model), settings).to(device)
    inputs = {name: x.to(device) for name, x in example_inputs(module, settings).items()}
    export(module, inputs, path, module.output_names, dynamic_axes(module, settings),
           settings.exporter)


def example_inputs(module: nn.Module, settings: DeploySettings) -> dict[str, torch.Tensor]:
    """Inputs to trace a graph with: of the graph's size, or of a usual one."""
    height, width = settings.input_shape or EXAMPLE_SIZE
    batch = 2 if settings.dynamic_batch else 1
    generator = torch.Generator().manual_seed(0)
    inputs = {'input': torch.randn(batch, 3, height, width, generator=generator)}
    if 'dets' in module.output_names:
        inputs['sizes'] = torch.tensor([[height, width]] * batch, dtype=torch.float32)
    return inputs


def dynamic_axes(module: nn.Module, settings: DeploySettings) -> dict[str, dict[int, str]]:
    """Names of the axes that may change, of the inputs and of the outputs."""
    batch = {0: 'batch'} if settings.dynamic_batch else {}
    size = {2: 'height', 3: 'width'} if settings.dynamic_size else {}
    axes = dict(input={**batch, **size}, sizes=batch)
    for name in module.output_names:
        axes[name] = batch
        if name == 'output' and settings.dynamic_size:
            first = 1 if settings.with_argmax else 2
            axes[name] = {**batch, first: 'rows', first + 1: 'columns'}
    return axes


def describe_file(path: Path) -> tuple[int, float]:
    """Number of nodes and megabytes of an ONNX file."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return len(graph.node), path.stat().st_size / 2**20


def verify_on(
    predictor: Predictor, runner: Runner, images: Sequence[np.ndarray], work_dir: Path
) -> tuple[list[Difference], list[Path]]:
    """Compares a graph with PyTorch, and draws both on the first picture.

    Args:
        predictor: The model in PyTorch.
        runner: The graph.
        images: Pictures as OpenCV reads them.
        work_dir: Folder for ``output_pytorch.jpg``, ``output_onnxruntime.jpg`` and both side by
            side in ``output.jpg``.

    Returns:
        The differences, and the files.
    """
    reference, exported = copy.copy(predictor), copy.copy(predictor)
    reference.model = copy.deepcopy(predictor.model)
    exported.model = deployed(predictor.model, runner)
    reference.model.data_preprocessor = exported.model.data_preprocessor
    expected, found = reference(images), exported(images)
    drawn = {
        name: predictor.draw(images[0], samples[0], SCORE_THRESHOLD)
        for name, samples in (('pytorch', expected), (runner.name, found))}
    pictures = {f'output_{name}.jpg': image for name, image in drawn.items()}
    pictures['output.jpg'] = side_by_side(list(drawn.values()), list(drawn))
    for name, image in pictures.items():
        write_picture(work_dir / name, image)
    return compare(found, expected), [work_dir / name for name in pictures]


def side_by_side(images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
    """Pictures of one size in a row, ``(H, W, 3)`` each, under a line of text."""
    framed = [
        cv2.copyMakeBorder(image, CAPTION, 0, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        for image in images]
    for image, caption in zip(framed, captions):
        cv2.putText(image, caption, (4, CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1,
                    cv2.LINE_AA)
    return np.concatenate(framed, axis=1)


@contextmanager
def _step(name: str, sentence: str, result: DeployResult) -> Iterator[None]:
    """Logs a step and notes how long it took."""
    logger.info('%s ...', sentence)
    start = time.perf_counter()
    yield
    result.seconds[name] = time.perf_counter() - start
