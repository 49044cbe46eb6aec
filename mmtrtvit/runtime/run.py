"""Running of a model on images, videos and what is live, with its results written to files."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import UserError
from ..media import (
    DrawnMedia,
    Frame,
    Medium,
    find_media,
    open_window,
    read_frames,
    write_image,
)
from ..signals import put_off
from ..tables import format_table
from .annotations import Annotations
from .batches import or_bad
from .coco import CocoFile
from .drawing import draw
from .legend import Legend
from .live import live_frames
from .results import BadImage, LabelMap, Result
from .stream import read_ahead
from .tracking import TrackFiles, Tracking, require_tracks

MOST_LISTED = 10  # inputs that annotations do not list, in a summary
WAITING = 4  # most frames that were read and wait for the model


class Predicting(Protocol):
    """What :func:`run` needs of a model."""

    @property
    def legend(self) -> Legend:
        """Names and colours of the classes."""

    @property
    def info(self) -> dict[str, str]:
        """What predictions.json says about the model."""

    def read(self, path: str | Path) -> np.ndarray:
        """Reads an image, ``(H, W, 3)``, BGR, or raises a UserError."""

    def predict(
        self, images: Iterable[np.ndarray], batch_size: int = 1
    ) -> Iterator[Result | BadImage]:
        """Yields a result for each image, the best detections first; may have further options."""


@dataclass
class RunResult:
    """What :func:`run` did.

    Attributes:
        out_dir: Folder of the results.
        frames: Number of images and frames that there are results for.
        found: Number of detections by class; for label maps and classifications, of frames.
        best_score: Highest score of all results, also of those up to the threshold.
        skipped: A sentence on each input that could not be used.
        unlisted: Inputs that the annotations do not list.
        missed: Number of images that the annotations list and the inputs do not have.
        notes: What was done to images that the pipeline does not say, and to how many.
        total: Number of images and frames that there are; None if something live has no end.
        stopped: What ended it before all files were done: Ctrl-C, SIGTERM or an error of the model.
    """

    out_dir: Path
    frames: int = 0
    found: Counter[str] = field(default_factory=Counter)
    best_score: float = 0.0
    skipped: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    missed: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    total: int | None = None
    stopped: KeyboardInterrupt | UserError | None = None

    def count(self, found: Result, legend: Legend) -> None:
        """Counts a frame."""
        self.frames += 1
        self.found.update(map(legend.name, found.classes()))
        if found.note:
            self.notes[found.note] += 1

    def report(self, score_thr: float) -> None:
        """Prints the summary; then raises what stopped the run, with how much was done."""
        print(self.summary(score_thr))
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Raises what stopped the run, with how much was done."""
        if self.stopped:
            of_all = '' if self.total is None else f' of {self.total}'
            where = f', their results are in {self.out_dir}' if self.frames else ''
            done = f'{self.frames}{of_all} images are done{where}'
            raise type(self.stopped)('\n'.join([*self.stopped.args, done]))

    def summary(self, score_thr: float) -> str:
        """Returns lines for people to read; ``score_thr`` as for :func:`run`."""
        found = ', '.join(f'{name} ({count})' for name, count in self.found.most_common(10))
        nothing = f'nothing above {score_thr:g}; the best has {self.best_score:.2f}'
        rows = {'images': self.frames, 'found': found or nothing, 'written to': self.out_dir}
        details = {'skipped': self.skipped}
        if self.notes:
            rows['notes'] = self.notes.total()
            details['notes'] = [f'{count} x {note}' for note, count in self.notes.items()]
        if self.unlisted:
            count = len(self.unlisted)
            rows['not listed'] = (
                f'{count} of the inputs, by the annotations: left out of predictions.json'
            )
            more = [f'and {count - MOST_LISTED} more'] if count > MOST_LISTED else []
            details['not listed'] = [*self.unlisted[:MOST_LISTED], *more]
        if self.missed:
            rows['not given'] = (
                f'{self.missed} of the listed images: an evaluation counts their objects as missed'
            )
        rows['skipped'] = len(self.skipped)
        lines = []
        for name, line in zip(rows, format_table(rows).splitlines()):
            lines += [line, *(f'  {detail}' for detail in details.get(name, ()))]
        return '\n'.join(lines)


def run(
    model: Predicting,
    inputs: Iterable[str | Path],
    *,
    out_dir: str | Path,
    score_thr: float = 0.3,
    batch_size: int = 1,
    max_frames: int | None = None,
    duration: float | None = None,
    annotations: Annotations | None = None,
    images: bool = True,
    predictions: bool = True,
    show: bool = False,
    track: bool = False,
    progress: Callable[..., Iterable] = lambda items, total: items,
    tell: Callable[[str], object] = lambda sentence: None,
    **options: Any,
) -> RunResult:
    """Predicts on images, videos, webcams and streams, and writes images and predictions.

    One frame after the other is predicted, drawn and written, while a thread reads the next ones;
    of what is live, the newest one at that time. Ctrl-C ends it early, with whole files, and so
    does a :class:`~mmtrtvit.signals.Terminated`.

    Args:
        model: A classifier, detector or segmentor.
        inputs: As for :func:`~mmtrtvit.media.find_media`.
        out_dir: Folder to write ``images/``, ``predictions.json`` in COCO's format and
            ``label_maps/`` to.
        score_thr: Detections up to this score are left out.
        batch_size: Most frames, or tiles of one, at once, consecutive ones of one size.
        max_frames: Most frames of each video, webcam and stream.
        duration: Most seconds for each webcam and stream.
        annotations: Where ``predictions.json`` has the numbers of images and categories from;
            inputs that are not listed are left out of it.
        images: Whether to write images and videos with the results drawn.
        predictions: Whether to write predictions.json and label maps.
        show: Whether to show each image on the screen, where the key q ends it.
        track: Whether to give objects identities, see :class:`~.tracking.Tracking`, and to write
            them to ``tracks/``.
        progress: Shows progress: called like :func:`tqdm.tqdm` with an iterable and ``total``,
            None where something live has no end.
        tell: Called with a sentence on each connection that is lost.
        options: For the model's ``predict``, such as the size of tiles.

    Raises:
        UserError: If there is no input, none can be used, the annotations do not fit, or
            something cannot be tracked.
        KeyboardInterrupt: If it was stopped before the first image was done.
    """
    out_dir = Path(out_dir)
    media, skipped = find_media(inputs, exclude=out_dir)
    if not media:
        raise UserError('\n'.join(['there is nothing to look at.', *skipped]))
    if track:
        require_tracks(media, tiles=bool(options.get('tile')))
    tracking = Tracking(score_thr) if track else None
    result = RunResult(out_dir, skipped=skipped)
    with ExitStack() as stack:
        record = None
        if predictions:
            record = stack.enter_context(_open_records(model, media, annotations, result))
        show_image = stack.enter_context(open_window('mmtrtvit')) if show else None
        drawn = stack.enter_context(DrawnMedia(out_dir / 'images')) if images else None
        tracks = stack.enter_context(TrackFiles(out_dir / 'tracks')) if track else None
        counts = [medium.count(max_frames) for medium in media]
        result.total = None if None in counts else sum(counts)
        frames = _frames(model, media, max_frames, duration, tell)
        medium = media[0]
        try:
            results = _results(model, frames, skipped, batch_size=batch_size, **options)
            for medium, frame, found in progress(results, total=result.total):
                with put_off():
                    result.best_score = max(result.best_score, found.best_score)
                    if tracking:
                        found = tracking(medium, frame, found)
                        tracks.write(medium, frame, found)
                    else:
                        found = found.above(score_thr)
                    if record:
                        record(medium, frame, found)
                    result.count(found, model.legend)
                    if not (drawn or show_image):
                        continue
                    image = or_bad(draw, frame.image, found, model.legend)
                    if isinstance(image, BadImage):
                        sentence = f'{medium} is predicted, but not drawn: {image.reason}'
                        if sentence not in skipped:  # once for a video
                            skipped.append(sentence)
                        continue
                    if drawn:
                        drawn.write(medium, frame, image)
                if show_image and not show_image(image):
                    break
        except (KeyboardInterrupt, UserError) as stop:
            if not (type(stop) is KeyboardInterrupt and medium.is_live):
                result.stopped = type(stop)(*stop.args)  # without what its traceback holds
        finally:
            frames.close()
        if not result.frames:
            result.raise_if_stopped()
            raise UserError('\n'.join(['nothing could be predicted.', *skipped]))
    return result


def _frames(
    model: Predicting,
    media: Iterable[Medium],
    max_frames: int | None,
    duration: float | None,
    tell: Callable[[str], object],
) -> Generator[tuple[Medium, Frame | BadImage], None, None]:
    """Yields the frames of files, which a thread reads ahead, and of what is live."""
    live = partial(live_frames, max_frames=max_frames, duration=duration, tell=tell)
    for is_live, group in groupby(media, key=lambda medium: medium.is_live):
        if is_live:
            yield from _read(group, live)
        else:
            of_file = partial(_file_frames, model, max_frames=max_frames)
            yield from read_ahead(_read([*group], of_file), WAITING)


def _file_frames(model: Predicting, medium: Medium, max_frames: int | None) -> Iterable[Frame]:
    if medium.is_image:
        return [Frame(model.read(str(medium.source)))]
    return read_frames(medium, max_frames)


def _read(
    media: Iterable[Medium], frames_of: Callable[[Medium], Iterable[Frame]]
) -> Iterator[tuple[Medium, Frame | BadImage]]:
    for medium in media:
        try:
            yield from ((medium, frame) for frame in frames_of(medium))
        except UserError as error:
            yield medium, BadImage(str(error))


def _results(
    model: Predicting,
    frames: Iterable[tuple[Medium, Frame | BadImage]],
    skipped: list[str],
    **options: Any,
) -> Iterator[tuple[Medium, Frame, Result]]:
    """Yields results in the order of the frames, and adds to ``skipped`` what has none."""
    begun: deque[tuple[Medium, Frame]] = deque()

    def images() -> Iterator[np.ndarray]:
        for medium, frame in frames:
            if isinstance(frame, BadImage):
                skipped.append(frame.reason)
            else:
                begun.append((medium, frame))
                yield frame.image

    for found in model.predict(images(), **options):
        medium, frame = begun.popleft()
        if not isinstance(found, BadImage):
            yield medium, frame, found
        elif (sentence := f'{medium}: {found.reason}') not in skipped:  # once for a video
            skipped.append(sentence)


@contextmanager
def _open_records(
    model: Predicting,
    media: Sequence[Medium],
    annotations: Annotations | None,
    result: RunResult,
) -> Iterator[Callable[[Medium, Frame, Result], None]]:
    """Opens ``predictions.json``, and yields a function that writes the result of a frame."""
    image_ids = category_ids = None
    if annotations:
        category_ids = annotations.category_ids(model.legend.names)
        image_ids = annotations.image_ids(media)
        result.unlisted += [str(medium) for medium in media if medium not in image_ids]
        result.missed = len(annotations.images) - len(image_ids)
    path = result.out_dir / 'predictions.json'
    with CocoFile.open(
        path, model.legend, category_ids=category_ids, info=model.info
    ) as predictions:

        def record(medium: Medium, frame: Frame, found: Result) -> None:
            extra: dict[str, Any] = dict(source=str(medium))
            name = f'{medium.stem}.png'
            if not medium.is_image:
                extra.update(frame=frame.index, time=round(frame.time, 3))
                name = f'{medium.stem}/{frame.index:06d}.png'
            if isinstance(found, LabelMap):
                extra.update(label_map=Path('label_maps', name).as_posix())
                write_image(result.out_dir / extra['label_map'], found.labels)
            if image_ids is None:
                predictions.add(medium.name.as_posix(), found, **extra)
            elif medium in image_ids:
                predictions.add(medium.name.as_posix(), found, image_id=image_ids[medium], **extra)

        yield record
