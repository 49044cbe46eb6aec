"""Predicts on images, videos and webcams, and writes what comes out into a folder."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.structures import BaseDataElement

from ..errors import UserError
from ..files import whole_file
from ..media import DrawnMedia, Frame, Medium, find_media, open_window, read_frames, write_image
from ..weights.checkpoints import checkpoint_file
from .predictor import Predictor, batches, label_map, load


@dataclass
class InferenceResult:
    """What :func:`infer` did.

    Attributes:
        out_dir: Folder of the results.
        frames: Number of images and frames that there are predictions for.
        found: Number of detections by class; for label maps, of frames that have the class.
        best_score: Highest score of all detections, also of those up to the threshold.
        skipped: A sentence on each input that could not be used.
        stopped: Whether Ctrl-C ended it before all files were done.
    """

    out_dir: Path
    frames: int = 0
    found: Counter[str] = field(default_factory=Counter)
    best_score: float = 0.0
    skipped: list[str] = field(default_factory=list)
    stopped: bool = False

    def add(self, sample: BaseDataElement, description: Mapping[str, Any]) -> None:
        """Counts a frame."""
        self.frames += 1
        parts = description['detections' if 'detections' in description else 'classes']
        self.found.update(part['name'] for part in parts)
        scores = sample.pred_instances.scores.tolist() if 'pred_instances' in sample else ()
        self.best_score = max([self.best_score, *scores])


def infer(
    config: Config,
    checkpoint: str | Path,
    inputs: Iterable[str | Path],
    out_dir: str | Path,
    score_thr: float = 0.3,
    device: str | None = None,
    batch_size: int = 1,
    max_frames: int | None = None,
    images: bool = True,
    predictions: bool = True,
    show: bool = False,
    track: Callable[..., Iterable] = lambda items, total: items,
) -> InferenceResult:
    """Predicts on images, videos and webcams, and writes images and predictions.

    One frame after the other is read, predicted, drawn and written. Ctrl-C ends it early, with
    whole files.

    Args:
        config: The config, as :func:`~.config.read_config` returns it.
        checkpoint: As for :func:`load`.
        inputs: As for :func:`~.media.find_media`.
        out_dir: Folder to write ``images/``, ``predictions.json`` and ``label_maps/`` to.
        score_thr: Detections up to this score are left out of images and predictions.
        device: As for :func:`load`.
        batch_size: Most frames at once, consecutive ones of one size.
        max_frames: Most frames of each video and webcam.
        images: Whether to write images and videos with the predictions drawn.
        predictions: Whether to write predictions.json and label maps.
        show: Whether to show each image on the screen, where the key q ends it.
        track: Shows progress: called like :func:`tqdm.tqdm` with an iterable and ``total``, None
            where a webcam has no end.

    Raises:
        UserError: If the config, the checkpoint or the device cannot be used, or no input can.
    """
    out_dir = Path(out_dir)
    media, skipped = find_media(inputs, exclude=out_dir)
    if not media:
        raise UserError('\n'.join(['there is nothing to look at.', *skipped]))
    checkpoint = checkpoint_file(checkpoint)
    result = InferenceResult(out_dir, skipped=skipped)
    with ExitStack() as stack:
        show_image = stack.enter_context(open_window('mmtrtvit')) if show else None
        predictor = load(config, checkpoint, device=device)
        header = dict(
            config=str(config.filename), checkpoint=str(checkpoint), classes=predictor.classes
        )
        record = stack.enter_context(_open_records(out_dir, header)) if predictions else None
        drawn = stack.enter_context(DrawnMedia(out_dir / 'images')) if images else None
        counts = [medium.count(max_frames) for medium in media]
        total = None if None in counts else sum(counts)
        results = _predictions(predictor, media, batch_size, max_frames, skipped)
        medium = media[0]
        try:
            for medium, frame, sample in track(results, total=total):
                description = predictor.describe(sample, score_thr)
                result.add(sample, description)
                if record:
                    record(medium, frame, sample, description)
                if drawn or show_image:
                    image = predictor.draw(frame.image, sample, score_thr)
                if drawn:
                    drawn.write(medium, frame, image)
                if show_image and not show_image(image):
                    break
        except KeyboardInterrupt:
            result.stopped = not medium.is_camera
        if not result.frames:
            raise UserError('\n'.join(['nothing could be predicted.', *skipped]))
    return result


def _predictions(
    predictor: Predictor,
    media: Sequence[Medium],
    batch_size: int,
    max_frames: int | None,
    skipped: list[str],
) -> Iterator[tuple[Medium, Frame, BaseDataElement]]:
    """Yields predictions in the order of the media, and adds to ``skipped`` what has none."""
    prepared = _prepared(predictor, media, max_frames, skipped)
    for batch in batches(prepared, batch_size):
        try:
            samples = predictor.predict([data for _, data in batch])
        except UserError as error:
            messages = dict.fromkeys(_about(medium, error) for (medium, _), _ in batch)
            skipped += [message for message in messages if message not in skipped]
        else:
            yield from ((*origin, sample) for (origin, _), sample in zip(batch, samples))


def _prepared(
    predictor: Predictor, media: Sequence[Medium], max_frames: int | None, skipped: list[str]
) -> Iterator[tuple[tuple[Medium, Frame], dict[str, Any]]]:
    for medium in media:
        try:
            frames = (
                [Frame(predictor.read(medium.source))]
                if medium.is_image
                else (read_frames(medium, max_frames))
            )
            for frame in frames:
                yield (medium, frame), predictor.prepare(frame.image)
        except UserError as error:
            skipped.append(_about(medium, error))


def _about(medium: Medium, error: UserError) -> str:
    message = str(error)
    return message if message.startswith(f'{medium} ') else f'{medium}: {message}'


@contextmanager
def _open_records(out_dir: Path, header: Mapping[str, Any]) -> Iterator[Callable[..., None]]:
    """Opens ``predictions.json``, and yields a function that adds a frame to its results.

    The file grows frame by frame, none of them stays in memory.
    """
    start, end = json.dumps(dict(header, results=[])).rsplit(']', 1)
    separator = '\n'
    with whole_file(out_dir / 'predictions.json') as part, open(part, 'w') as file:

        def add(medium: Medium, frame: Frame, sample: BaseDataElement, description: Any) -> None:
            nonlocal separator
            record = dict(file=str(medium))
            name = f'{medium.stem}.png'
            if not medium.is_image:
                record.update(frame=frame.index, time=round(frame.time, 3))
                name = f'{medium.stem}/{frame.index:06d}.png'
            record.update(description)
            if 'pred_sem_seg' in sample:
                record['label_map'] = Path('label_maps', name).as_posix()
                write_image(out_dir / record['label_map'], label_map(sample))
            file.write(separator + json.dumps(record))
            separator = ',\n'

        file.write(start)
        yield add
        file.write(f'\n]{end}\n')
