"""Workflow of a deployment: from a trained model to a verified file, step by step."""

import copy
import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from ..runtime.sessions.base import Session, image_input
from ..runtime.sessions.onnx import OnnxSession, has_cuda
from .backends.backend import Backend, Batches, Unavailable
from .backends.registry import all_backends, find_backend
from .config import read_settings
from .description import describe, write_description
from .export import support
from .export.model import export_model
from .export.to_onnx import Exported, require_exporter
from .graphs.formats import FORMATS
from .graphs.graph import load_onnx
from .graphs.quantize import Quantization
from .settings import DeploySettings
from .verify.agreement import Agreement, agreement
from .verify.calibration import graph_inputs, training_images
from .verify.compare import Difference, agree, compare
from .verify.evaluation import HostPreprocessor, deployed
from .verify.peaks import Peaks, half_peaks
from .verify.steps import compare_steps

logger = logging.getLogger(__name__)

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
        built: The backend's own file; None if it runs the ONNX file, or none could be built here.
        product: What such a file is called.
        comparisons: Each file against PyTorch, by name; empty if not verified.
        agreements: The same for each file of lower precision; all others have to be PyTorch's but
            for rounding.
        peaks: The largest values of a file of half precision; None if not looked at.
        images: Drawn predictions.
        seconds: Time of each step.
        notes: What the user should know.
        not_built: Why there is no such file although one was asked for, and how to build it.
    """

    onnx: Path
    exported: Exported | None = None
    built: Path | None = None
    product: str = ''
    comparisons: dict[str, list[Difference]] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    peaks: Peaks | None = None
    images: list[Path] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_built: str = ''

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
        timeout: Most seconds of a run of the ONNX file that is compared; None for no limit.
        verify: Whether to compare.
        calib_config: Config whose training images calibrate INT8 and FP8; default: the model's.

    Raises:
        UserError: If the config, the weights or an image cannot be used, or a part of the model
            cannot be exported, or a run takes longer.
    """
    require_exporter(settings.exporter)
    backend = find_backend(settings.backend)
    backend.check(settings)
    precision = backend.onnx_precision(settings.precision)
    if verify and not images:
        raise UserError('there is no image to compare on: name one, or pass --no-verify.')
    work_dir = Path(work_dir)
    result = DeployResult(work_dir / settings.save_file)
    with _step('load', f'loading {checkpoint}', result):
        predictor = load(config, checkpoint, device=device)
        support.check(predictor.model, settings)
        loaded = [predictor.read(image) for image in images]
        calibrating = (
            training_images(calib_config or config, settings.calibration.num_images)
            if settings.precision in FORMATS
            else []
        )
    compare_with = partial(verify_on, predictor, images=loaded, work_dir=work_dir)
    least = {
        name: None if name == 'fp32' else settings.least_agreement
        for name in (precision, settings.precision)
    }
    about = dict(task=type(predictor.model).__name__, classes=predictor.classes)
    with _step('export', f'exporting with the {settings.exporter} exporter', result):
        if precision in FORMATS:
            result.exported, quantization = export_quantized(
                predictor,
                settings,
                path=result.onnx,
                files=calibrating,
                device=device,
                metadata=about,
            )
            result.notes.append(
                f'{len(quantization.layers)} layers are {precision.upper()}, '
                f'{len(quantization.left_out)} others were left out; '
                f'{quantization.batches} images gave the ranges.'
            )
        else:
            result.exported = export_model(
                predictor.model, settings, path=result.onnx, device=device, metadata=about
            )
    check_rules(result, settings)
    if verify:
        with _step('verify', f'comparing {len(loaded)} image(s) with PyTorch', result):
            session = onnx_session(result, device, timeout)
            result.add(result.onnx, compare_with(session, least=least[precision]))
            steps = compare_steps(
                predictor, result.onnx, images=loaded, device=session.device, timeout=timeout
            )
            result.add(result.onnx, Comparison(steps))
    if precision == 'fp16':
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
    if backend.suffix:
        result.product = backend.product
        with _step(backend.product, f'building the {backend.product}', result):
            batches = partial(calibration_batches, predictor, result.onnx, calibrating)
            add_built(result, backend, settings, batches)
        if verify and result.built:
            sentence = f'comparing the {backend.product} with PyTorch'
            with _step(f'verify {backend.product}', sentence, result):
                built = backend.open(result.built, device, trusted=True)
                result.add(result.built, compare_with(built, least=least[settings.precision]))
                if settings.precision == 'fp32':
                    add_steps(result, backend, predictor, loaded, device)
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
    shape = image_input(OnnxSession(result.onnx)).shape

    def look(files: Sequence[str | Path]) -> Peaks:
        bar = tqdm(files, 'half precision', leave=False, disable=None)
        return half_peaks(result.onnx, graph_inputs(predictor, shape, bar), device, timeout)

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
    """Refuses a graph that its backend would not take, and notes which others would not."""
    for backend in all_backends():
        refusal = backend.refusal(result.onnx, settings)
        if refusal is None:
            continue
        if backend.name == settings.backend:
            reasons = '\n'.join(f'  {reason}' for reason in refusal.reasons)
            raise UserError(f'{result.onnx}: {refusal.by} does not take this graph:\n{reasons}')
        result.notes.append(
            f'{refusal.by} would not take this graph, for {len(refusal.reasons)} reason(s). The '
            f'first: {refusal.reasons[0]}'
        )


def add_built(
    result: DeployResult,
    backend: Backend,
    settings: DeploySettings,
    batches: Callable[[], Batches],
) -> None:
    """Builds the backend's own file beside the ONNX file, or notes why there can be none here."""
    path = result.onnx.with_suffix(backend.suffix)
    try:
        result.notes += backend.build(
            result.onnx, path, settings=settings, batches=batches, progress=logger.info
        )
    except Unavailable as error:
        result.not_built = str(error)
    else:
        result.built = path


def add_steps(
    result: DeployResult,
    backend: Backend,
    predictor: Predictor,
    images: Sequence[np.ndarray],
    device: str,
) -> None:
    """Compares the steps of a graph in its backend too, where that reads ONNX files."""
    if backend.reads_onnx:
        open_onnx = partial(backend.open, device=device)
        steps = compare_steps(predictor, result.onnx, images=images, open_graph=open_onnx)
        result.add(result.built, Comparison(steps))


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
            net=(result.built or result.onnx).name,
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
    files: Sequence[str],
    device: str,
    metadata: Mapping[str, Any],
) -> tuple[Exported, Quantization]:
    """Writes a model as an INT8 or FP8 file, with ranges of images."""
    backend = find_backend(settings.backend)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, path.name)
        exported = export_model(
            predictor.model, settings, path=source, device=device, metadata=metadata
        )
        batches = calibration_batches(predictor, source, files)
        quantization = backend.quantize(source, path, batches=batches, settings=settings)
    nodes = len(load_onnx(path, weights=False).graph.node)
    exported = replace(exported, path=path, megabytes=quantization.megabytes, nodes=nodes)
    return exported, quantization


def calibration_batches(predictor: Predictor, path: Path, files: Sequence[str]) -> Batches:
    """Inputs of an ONNX file, of one image after the other."""
    shape = image_input(OnnxSession(path)).shape
    return graph_inputs(predictor, shape, tqdm(files, 'calibrating', leave=False, disable=None))


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
    reference, exported = copy.copy(predictor), copy.copy(predictor)
    exported.model = deployed(predictor.model, session)
    reference.model = copy.deepcopy(predictor.model)
    reference.model.data_preprocessor = HostPreprocessor(
        predictor.model.data_preprocessor, (None, 3, *exported.model.data_preprocessor.size)
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
