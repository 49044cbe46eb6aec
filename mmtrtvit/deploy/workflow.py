"""Workflow of a deployment: from a trained model to a verified file, step by step."""

import copy
import logging
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from tqdm import tqdm

from ..engine.config import read_config
from ..engine.predictor import Predictor, load
from ..errors import UserError
from ..media import write_image
from ..runtime.pipeline import Resize
from ..runtime.sessions.base import Session, image_input, resizes
from ..runtime.sessions.onnx import OnnxSession, has_cuda
from .backends.tensorrt.build import EngineUnavailable, build_engine
from .backends.tensorrt.options import read_options
from .description import describe, write_description
from .export import support
from .export.model import export_model
from .export.resizing import pipeline_resize
from .export.to_onnx import Exported, require_exporter
from .graphs.formats import FORMATS
from .graphs.graph import load_onnx
from .graphs.quantize import Quantization, quantize
from .graphs.rules import check_graph, require_supported
from .settings import DYNAMO, TORCHSCRIPT, DeploySettings, read_settings
from .verify.agreement import Agreement, agreement
from .verify.calibration import graph_inputs, training_images
from .verify.compare import Difference, agree, compare
from .verify.evaluation import HostPreprocessor, deployed
from .verify.open import open_engine
from .verify.peaks import Peaks, half_peaks
from .verify.steps import compare_steps

logger = logging.getLogger(__name__)

# The least release that takes an exporter's opset, or FP8.
TENSORRT = {TORCHSCRIPT: '8.6', DYNAMO: '10.0', 'fp8': '10.0'}
SCORE_THRESHOLD = 0.3  # of what is drawn
CAPTION = 24  # pixels


@dataclass(frozen=True)
class Comparison:
    """A file against PyTorch.

    Attributes:
        differences: How far each kind of output is apart.
        agreement: How much of what one side finds the other finds, where more than rounding of
            single precision lies between them; None where nothing may differ but by that.
        images: Drawn predictions.
    """

    differences: Sequence[Difference]
    agreement: Agreement | None = None
    images: Sequence[Path] = ()


@dataclass
class DeployResult:
    """What came out.

    Attributes:
        onnx: The ONNX file.
        exported: Its size, before slimming too.
        engine: TensorRT's engine, None if none was asked for or none could be built here.
        comparisons: Each file against PyTorch, by name; empty if not verified.
        agreements: The same for each file of lower precision; all others have to be PyTorch's but
            for rounding.
        peaks: The largest values of a file of half precision; None if not looked at.
        images: Drawn predictions.
        seconds: Time of each step.
        notes: What the user should know.
        no_engine: Why there is no engine although one was asked for, and how to build it.
    """

    onnx: Path
    exported: Exported | None = None
    engine: Path | None = None
    comparisons: dict[str, list[Difference]] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    peaks: Peaks | None = None
    images: list[Path] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    no_engine: str = ''

    @property
    def differences(self) -> list[Difference]:
        """Those of all files."""
        return [each for rows in self.comparisons.values() for each in rows]

    @property
    def not_judged(self) -> list[str]:
        """Files of which nothing could be compared, as neither side finds anything."""
        return [
            name
            for name, rows in self.comparisons.items()
            if not (
                self.agreements[name].count
                if name in self.agreements
                else any(row.count or row.unmatched for row in rows)
            )
        ]

    @property
    def verified(self) -> bool:
        """Whether each file was compared, agrees, and holds all its values."""
        return not self.different and not (self.peaks and self.peaks.overflowing)

    @property
    def different(self) -> list[str]:
        """Files that differ by more than their precision explains, or were not compared."""
        return [
            name
            for name, rows in self.comparisons.items()
            if not (self.agreements[name].enough if name in self.agreements else agree(rows))
        ]

    def add(self, file: Path, comparison: Comparison) -> None:
        """Adds a comparison of a file."""
        rows = self.comparisons.get(file.name, [])
        self.comparisons[file.name] = [*rows, *comparison.differences]
        if comparison.agreement:
            self.agreements[file.name] = comparison.agreement
        self.images += [image for image in comparison.images if image not in self.images]


def deploy(
    settings: DeploySettings,
    config: Config,
    *,
    checkpoint: str | Path,
    images: Sequence[str | Path],
    work_dir: str | Path,
    device: str = 'cpu',
    timeout: float | None = None,
    verify: bool = True,
    calib_config: Config | None = None,
) -> DeployResult:
    """Exports a trained model, and compares its predictions on images with those of the files.

    Args:
        settings: What to make of it, see :func:`read_deploy_config`.
        config: Config of the model.
        checkpoint: Its weights, or the work dir of its training.
        images: Files to compare on; the first is drawn.
        work_dir: Folder to write to.
        device: Where the model and the file run; the latter on the CPU if ONNX Runtime has no CUDA.
        timeout: Most seconds of a run of the ONNX file, to calibrate or to compare; None for no
            limit.
        verify: Whether to compare.
        calib_config: Config whose training images calibrate INT8 and FP8; default: the model's.

    Raises:
        UserError: If the config, the weights or an image cannot be used, or a part of the model
            cannot be exported, or a run takes longer.
    """
    require_exporter(settings.exporter)
    if verify and not images:
        raise UserError('there is no image to compare on: name one, or pass --no-verify.')
    work_dir = Path(work_dir)
    result = DeployResult(work_dir / settings.save_file)
    with _step('load', f'loading {checkpoint}', result):
        predictor = load(config, checkpoint, device=device)
        support.check(predictor.model, settings)
        resize = pipeline_resize(config) if settings.resizing else None
        loaded = [predictor.read(image) for image in images]
    compare_with = partial(verify_on, predictor, images=loaded, work_dir=work_dir)
    least = {
        name: None if name == 'fp32' else settings.least_agreement
        for name in (settings.file_precision, settings.precision)
    }
    about = dict(task=type(predictor.model).__name__, classes=predictor.classes)
    with _step('export', f'exporting with the {settings.exporter} exporter', result):
        if settings.precision in FORMATS:
            result.exported, quantization = export_quantized(
                predictor,
                settings,
                path=result.onnx,
                config=calib_config or config,
                device=device,
                metadata=about,
                timeout=timeout,
                resize=resize,
            )
            result.notes.append(
                f'{len(quantization.layers)} layers are {settings.precision.upper()}, '
                f'{len(quantization.left_out)} others were left out; '
                f'{quantization.batches} images gave the ranges.'
            )
        else:
            result.exported = export_model(
                predictor.model,
                settings,
                path=result.onnx,
                device=device,
                metadata=about,
                resize=resize,
            )
    check_rules(result, settings)
    if verify:
        with _step('verify', f'comparing {len(loaded)} image(s) with PyTorch', result):
            session = onnx_session(result, device, timeout)
            result.add(result.onnx, compare_with(session, least=least[settings.file_precision]))
            steps = compare_steps(
                predictor, result.onnx, images=loaded, device=session.device, timeout=timeout
            )
            result.add(result.onnx, Comparison(steps))
    if settings.precision == 'fp16':
        with _step('half precision', 'looking for what half precision cannot hold', result):
            result.peaks = peaks_of(
                result,
                predictor,
                config=calib_config or config,
                count=settings.calibration.num_images,
                images=images,
                device=device if has_cuda() else 'cpu',
                timeout=timeout,
            )
    if settings.backend == 'tensorrt':
        with _step('engine', 'building the engine', result):
            add_engine(result, settings)
        if verify and result.engine:
            with _step('verify engine', 'comparing the engine with PyTorch', result):
                engine = open_engine(result.engine, device, host_code=True)
                result.add(result.engine, compare_with(engine, least=least[settings.precision]))
    describe_into(result, config, settings=settings, predictor=predictor, checkpoint=checkpoint)
    return result


def peaks_of(
    result: DeployResult,
    predictor: Predictor,
    *,
    config: Config,
    count: int,
    images: Sequence[str | Path],
    device: str,
    timeout: float | None = None,
) -> Peaks | None:
    """The largest values of a half file on training images, or on others where there are none.

    Args:
        result: With the file; gets a note where there are no training images.
        predictor: Reads and resizes images.
        config: Config with training data.
        count: How many of its images.
        images: Files to take otherwise.
        device: Where the file runs.
        timeout: Most seconds of a run.
    """
    session = OnnxSession(result.onnx)
    shape, resized = image_input(session).shape, resizes(session)

    def look(files: Sequence[str | Path]) -> Peaks:
        bar = tqdm(files, 'half precision', leave=False, disable=None)
        batches = graph_inputs(predictor, shape, bar, resizes=resized)
        return half_peaks(result.onnx, batches, device, timeout)

    try:
        return look(training_images(config, count))
    except (UserError, OSError, AssertionError) as error:  # MMSegmentation's, of a missing file
        where = f'on {len(images)} given image(s) only' if images else 'on NO image'
        result.notes.append(
            f'What half precision has to hold was looked at {where}, as the training images of '
            f'{config.filename} cannot be read: {error}'
        )
        return look(images) if images else None


def onnx_session(result: DeployResult, device: str, timeout: float | None = None) -> OnnxSession:
    """The ONNX file on a device, or on the CPU where ONNX Runtime has no CUDA, which is noted."""
    if device != 'cpu' and not has_cuda():
        result.notes.append(
            'The ONNX file was compared on the CPU: this ONNX Runtime has no CUDA '
            '(onnxruntime-gpu has).'
        )
        device = 'cpu'
    return OnnxSession(result.onnx, device, timeout=timeout)


def check_rules(result: DeployResult, settings: DeploySettings) -> None:
    """Refuses a graph that TensorRT's parser would not take, or notes it if none is asked for."""
    release = TENSORRT['fp8' if settings.precision == 'fp8' else settings.exporter]
    if settings.backend == 'tensorrt':
        require_supported(result.onnx, release)
    elif problems := check_graph(result.onnx, release):
        result.notes.append(
            f'TensorRT {release} would not take this graph, for {len(problems)} reason(s). The '
            f'first: {problems[0]}'
        )


def add_engine(result: DeployResult, settings: DeploySettings) -> None:
    """Builds the engine beside the ONNX file, or notes why there can be none here."""
    options, profiles = read_options(settings)
    path = result.onnx.with_suffix('.engine')
    try:
        report = build_engine(
            result.onnx, path, options=options, profiles=profiles, progress=logger.info
        )
    except EngineUnavailable as error:
        result.no_engine = str(error)
    else:
        result.engine = path
        result.notes += report.notes


def describe_into(
    result: DeployResult,
    config: Config,
    *,
    settings: DeploySettings,
    predictor: Predictor,
    checkpoint: str | Path,
) -> None:
    """Writes what :mod:`mmtrtvit.runtime` reads; a model that it cannot run gets a note."""
    try:
        description = describe(
            config,
            settings,
            net=(result.engine or result.onnx).name,
            classes=predictor.classes,
            palette=predictor.legend.palette,
            checkpoint=checkpoint,
        )
    except UserError as error:
        result.notes.append(f'mmtrtvit.runtime cannot run this model: {error}')
    else:
        if result.peaks:
            description['detail.json']['largest_half_values'] = {
                peak.layer: peak.value if math.isfinite(peak.value) else 'not finite'
                for peak in result.peaks.largest()
            }
        write_description(result.onnx.parent, description)


def read_deploy_config(
    path: str | Path, scope: str, options: dict[str, Any] | None = None
) -> DeploySettings:
    """Reads a deploy config in MMDeploy's schema.

    Args:
        path: The file.
        scope: ``default_scope`` of the model's config.
        options: Values by dotted key.

    Raises:
        UserError: If the file, a key or a value cannot be used.
    """
    config = read_config(path, options)
    for key in ('work_dir', 'launcher'):  # of a run, added by read_config
        config.pop(key, None)
    return read_settings(config, scope)


def export_quantized(
    predictor: Predictor,
    settings: DeploySettings,
    *,
    path: Path,
    config: Config,
    device: str,
    metadata: Mapping[str, Any],
    timeout: float | None = None,
    resize: Resize | None = None,
) -> tuple[Exported, Quantization]:
    """Writes a model as an INT8 or FP8 file, with ranges of a config's training images.

    Args:
        predictor: The model; reads and resizes images.
        settings: What to make of it.
        path: The file to write.
        config: Config with training data.
        device: Where the model is exported.
        metadata: What the file says of itself.
        timeout: Most seconds of a run of a batch; None for no limit.
        resize: How the graph resizes images, if it does.
    """
    files = training_images(config, settings.calibration.num_images)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, path.name)
        exported = export_model(
            predictor.model, settings, path=source, device=device, metadata=metadata, resize=resize
        )
        inputs = graph_inputs(
            predictor,
            image_input(OnnxSession(source)).shape,
            tqdm(files, 'calibrating', leave=False, disable=None),
            resizes=settings.resizing,
        )
        quantization = quantize(
            source,
            path,
            batches=inputs,
            calibration=settings.calibration,
            exclude_worst=settings.calibration.exclude_worst,
            float_weights=settings.backend == 'tensorrt' and settings.precision == 'int8',
            kind=FORMATS[settings.precision],
            timeout=timeout,
        )
    nodes = len(load_onnx(path, weights=False).graph.node)
    exported = replace(exported, path=path, megabytes=quantization.megabytes, nodes=nodes)
    return exported, quantization


def verify_on(
    predictor: Predictor,
    session: Session,
    *,
    images: Sequence[np.ndarray],
    work_dir: Path,
    least: float | None = None,
) -> Comparison:
    """Compares a graph with PyTorch, and draws both on the first image.

    Args:
        predictor: The model in PyTorch.
        session: The graph.
        images: Images as OpenCV reads them.
        work_dir: Folder for ``output_pytorch.jpg``, ``output_onnxruntime.jpg`` and both side by
            side in ``output.jpg``.
        least: Share of what one side clearly finds that the other must find, in lower precision;
            None where both must find the same.
    """
    reference = copy.copy(predictor)
    exported = predictor.without_resizing() if resizes(session) else copy.copy(predictor)
    exported.model = deployed(predictor.model, session)
    reference.model = copy.deepcopy(predictor.model)
    reference.model.data_preprocessor = HostPreprocessor(
        predictor.model.data_preprocessor,
        (None, 3, *exported.model.data_preprocessor.network_size),
    )
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = reference(images)
    found = exported(images)
    drawn = {
        name: predictor.draw(images[0], samples[0], SCORE_THRESHOLD)
        for name, samples in (('pytorch', expected), (session.backend, found))
    }
    files = {f'output_{name}.jpg': image for name, image in drawn.items()}
    files['output.jpg'] = side_by_side(list(drawn.values()), list(drawn))
    for name, image in files.items():
        write_image(work_dir / name, image)
    return Comparison(
        compare(found, expected),
        None if least is None else agreement(found, expected, least),
        [work_dir / name for name in files],
    )


def side_by_side(images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
    """Images of one size in a row, ``(H, W, 3)`` each, under a line of text."""
    framed = [
        cv2.copyMakeBorder(image, CAPTION, 0, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        for image in images
    ]
    for image, caption in zip(framed, captions):
        cv2.putText(
            image,
            caption,
            (4, CAPTION - 7),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.5,
            (0, 0, 0),
            1,
            cv2.LINE_AA,
        )
    return np.concatenate(framed, axis=1)


@contextmanager
def _step(name: str, sentence: str, result: DeployResult) -> Iterator[None]:
    """Logs a step and notes how long it took."""
    logger.info('%s ...', sentence)
    start = time.perf_counter()
    yield
    result.seconds[name] = time.perf_counter() - start
