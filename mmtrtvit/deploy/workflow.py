"""Workflow of a deployment: from a trained model to a verified file, step by step."""

import copy
import logging
import math
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
from .backends.backend import Backend, Batches, Unavailable
from .backends.registry import all_backends, find_backend
from .config import read_settings
from .description import describe, write_description
from .export import support
from .export.model import export_model
from .export.resizing import pipeline_resize
from .export.to_onnx import Exported, require_exporter
from .graphs.formats import FORMATS
from .graphs.graph import load_onnx
from .graphs.quantize import Quantization, Quantizer
from .measure.speed import Speed, measure_speed
from .record import write_record, write_search
from .result import Comparison, DeployResult
from .settings import DeploySettings
from .verify.agreement import agreement
from .verify.calibration import graph_inputs, training_images
from .verify.compare import compare
from .verify.evaluation import HostPreprocessor, deployed, evaluate_graph
from .verify.held_out import held_out
from .verify.peaks import Peaks, half_peaks
from .verify.search import Search, find_left_out
from .verify.steps import compare_steps

logger = logging.getLogger(__name__)

SCORE_THRESHOLD = 0.3  # of what is drawn
CAPTION = 24  # pixels


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
    backend = find_backend(settings.backend)
    backend.check_here(settings)
    precision = backend.onnx_precision(settings.precision)
    if verify and not images:
        raise UserError('there is no image to compare on: name one, or pass --no-verify.')
    work_dir = Path(work_dir)
    result = DeployResult(work_dir / settings.save_file)
    with _step('load', f'loading {checkpoint}', result):
        predictor = load(config, checkpoint, device=device)
        support.check(predictor.model, settings)
        resize = pipeline_resize(config) if settings.resizing else None
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
            result.exported, quantization, result.search = export_quantized(
                predictor,
                settings,
                path=result.onnx,
                config=calib_config or config,
                files=calibrating,
                device=device,
                metadata=about,
                timeout=timeout,
                resize=resize,
            )
            result.notes.append(
                f'{len(quantization.layers)} layers are {precision.upper()}, '
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
            result.add(result.onnx, compare_with(session, least=least[precision]))
            steps = compare_steps(
                predictor, result.onnx, images=loaded, device=session.device, timeout=timeout
            )
            result.add(result.onnx, Comparison(steps))
        elsewhere = backend.meant_for(settings)
        if elsewhere:
            result.notes.append(
                f'Not timed: the file is for {elsewhere}, and this machine is another. There, '
                f'tools/benchmark.py {result.onnx} measures it.'
            )
        elif precision != 'fp32' and not backend.suffix:
            with _step('speed', 'timing it beside single precision', result):
                result.speed = speed_of(
                    session, predictor, settings, images, timeout=timeout, resize=resize
                )
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
    write_record(result)
    return result


def speed_of(
    session: OnnxSession,
    predictor: Predictor,
    settings: DeploySettings,
    images: Sequence[str | Path],
    *,
    timeout: float | None = None,
    resize: Resize | None = None,
) -> Speed:
    """Times a file of lower precision beside one of single precision, which is made for that.

    Args:
        session: The file.
        predictor: The model; reads and resizes images.
        settings: Those of the file.
        images: Files of images.
        timeout: Most seconds of a run.
        resize: How the graph resizes images, if it does.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'fp32.onnx')
        single = replace(settings, precision='fp32')
        export_model(predictor.model, single, path=path, device=session.device, resize=resize)
        fp32 = OnnxSession(path, session.device, timeout=timeout)
    shape = image_input(session).shape
    files = map(str, images)
    inputs = list(graph_inputs(predictor, shape, files, resizes=resizes(session)))
    return measure_speed(fp32, session, inputs, settings.precision)


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
    """Refuses a graph that its backend would not take, and notes which others would not.

    A graph of eight bits is made for its backend alone.
    """
    for backend in all_backends():
        if backend.name != settings.backend and settings.precision in FORMATS:
            continue
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
    config: Config,
    files: Sequence[str],
    device: str,
    metadata: Mapping[str, Any],
    timeout: float | None = None,
    resize: Resize | None = None,
) -> tuple[Exported, Quantization, Search | None]:
    """Writes a model as an INT8 or FP8 file, with ranges of images.

    Args:
        predictor: The model; reads and resizes images.
        settings: What to make of it.
        path: The file to write.
        config: Config whose other training images a search measures on.
        files: Images that show the ranges.
        device: Where the model is exported.
        metadata: What the file says of itself.
        timeout: Most seconds of a run of a batch; None for no limit.
        resize: How the graph resizes images, if it does.
    """
    backend = find_backend(settings.backend)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, path.name)
        exported = export_model(
            predictor.model, settings, path=source, device=device, metadata=metadata, resize=resize
        )
        batches = calibration_batches(predictor, source, files)
        quantizer = backend.quantizer(
            source, batches=batches, settings=settings, timeout=timeout, called=path
        )
        search = None
        left_out: Collection[str] = quantizer.noisiest(settings.calibration.exclude_worst)
        if settings.calibration.max_drop is not None:
            search = search_on(
                config, quantizer, source, seen=files, settings=settings, timeout=timeout
            )
            write_search(path.parent, search)
            left_out = search.chosen.left_out
        quantization = quantizer.write(path, left_out)
    nodes = len(load_onnx(path, weights=False).graph.node)
    exported = replace(exported, path=path, megabytes=quantization.megabytes, nodes=nodes)
    return exported, quantization, search


def search_on(
    config: Config,
    quantizer: Quantizer,
    source: Path,
    *,
    seen: Sequence[str],
    settings: DeploySettings,
    timeout: float | None = None,
) -> Search:
    """Finds the layers that stay in single precision by metrics on held-out training images.

    Args:
        config: Config with the training data.
        quantizer: Writes the files that are tried.
        source: The file of single precision; the others are tried beside it.
        seen: Images that showed the ranges.
        settings: How far the metrics may drop, and on how many images.
        timeout: Most seconds of a run.
    """
    calibration = settings.calibration
    data = held_out(config, seen=seen, count=calibration.num_held_out, folder=source.parent)
    return find_left_out(
        quantizer,
        lambda path: evaluate_graph(copy.deepcopy(data), path, timeout=timeout),
        source,
        max_drop=float(calibration.max_drop or 0),
        folder=source.parent,
        start=calibration.exclude_worst,
        progress=logger.info,
    )


def calibration_batches(predictor: Predictor, path: Path, files: Sequence[str]) -> Batches:
    """Inputs of an ONNX file, of one image after the other."""
    session = OnnxSession(path)
    bar = tqdm(files, 'calibrating', leave=False, disable=None)
    return graph_inputs(predictor, image_input(session).shape, bar, resizes=resizes(session))


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
