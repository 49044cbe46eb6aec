"""Takes an exported model to images, videos and webcams, and writes what it finds."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..media import DrawnMedia, Frame, Medium, find_media, read_frames, write_image
from .coco import CocoFile, Ids
from .drawing import draw
from .images import read_image
from .model import BadImage, Model
from .results import Detections, LabelMap
from .stream import read_ahead

WAITING = 4  # most frames that were read and wait for the model


@dataclass
class RunResult:
    """What :func:`run` did.

    Attributes:
        out_dir: Folder of the results.
        frames: Number of images and frames that there are results for.
        found: Number of detections by class; for label maps, of frames that have the class.
        skipped: A sentence on each input that could not be used.
        notes: What was done to images that the pipeline does not say, and to how many.
        stopped: Whether Ctrl-C ended it before all files were done.
    """

    out_dir: Path
    frames: int = 0
    found: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    stopped: bool = False


def run(
    model: Model,
    inputs: Iterable[str | Path],
    out_dir: str | Path,
    score_thr: float = 0.3,
    batch_size: int = 1,
    tile: tuple[int, int] | None = None,
    overlap: float = 0.2,
    max_frames: int | None = None,
    images: bool = True,
    ids: Ids | None = None,
) -> RunResult:
    """Predicts on images, videos and webcams, and writes images and predictions.

    Ctrl-C ends it early, with whole files.

    Args:
        model: A detector or segmentor.
        inputs: Files, folders, glob patterns and numbers of webcams.
        out_dir: Folder to write ``images/``, and ``predictions.json`` in COCO's format or
            ``label_maps/`` to.
        score_thr: Detections up to this score are left out.
        batch_size: Most frames, or tiles of one, at once.
        tile: Height and width of tiles, see :class:`Model`.
        overlap: Of tiles.
        max_frames: Most frames of each video and webcam.
        images: Whether to write images and videos with the results drawn.
        ids: Numbers of images and categories in ``predictions.json``.

    Raises:
        UserError: If there is no input, or none can be used.
    """
    out_dir = Path(out_dir)
    media, skipped = find_media(inputs, exclude=out_dir)
    if not media:
        raise UserError('\n'.join(['there is nothing to look at.', *skipped]))
    result = RunResult(out_dir, skipped=skipped)
    with ExitStack() as stack:
        drawn = stack.enter_context(DrawnMedia(out_dir / 'images')) if images else None
        coco = None
        if model.task == 'Detector':
            coco = stack.enter_context(
                CocoFile.open(out_dir / 'predictions.json', model.work_dir.classes, ids)
            )
        frames = read_ahead(_frames(media, max_frames, skipped), WAITING)
        medium = media[0]
        try:
            for medium, frame, found in _results(model, frames, batch_size, tile, overlap, skipped):
                _count(result, model, found := _visible(found, score_thr))
                if coco:
                    coco.add(medium.name.as_posix(), found, **_frame_number(medium, frame))
                else:
                    write_image(out_dir / 'label_maps' / _map_name(medium, frame), found.labels)
                if drawn:
                    drawn.write(medium, frame, draw(frame.image, found, names=model.work_dir))
        except KeyboardInterrupt:
            result.stopped = not medium.is_camera
        finally:
            frames.close()
        if not result.frames:
            raise UserError('\n'.join(['nothing could be predicted.', *skipped]))
    return result


def _frames(
    media: Iterable[Medium], max_frames: int | None, skipped: list[str]
) -> Iterator[tuple[Medium, Frame]]:
    for medium in media:
        try:
            if medium.is_image:
                yield medium, Frame(read_image(medium.source))
            else:
                yield from ((medium, frame) for frame in read_frames(medium, max_frames))
        except UserError as error:
            skipped.append(str(error))


def _results(
    model: Model,
    frames: Iterable[tuple[Medium, Frame]],
    batch_size: int,
    tile: tuple[int, int] | None,
    overlap: float,
    skipped: list[str],
) -> Iterator[tuple[Medium, Frame, Detections | LabelMap]]:
    begun: deque[tuple[Medium, Frame]] = deque()

    def images() -> Iterator[np.ndarray]:
        for medium, frame in frames:
            begun.append((medium, frame))
            yield frame.image

    for found in model.predict(images(), batch_size, tile=tile, overlap=overlap):
        medium, frame = begun.popleft()
        if isinstance(found, BadImage):
            skipped.append(f'{medium}: {found.reason}')
        else:
            yield medium, frame, found


def _visible(found: Detections | LabelMap, score_thr: float) -> Detections | LabelMap:
    return found.above(score_thr) if isinstance(found, Detections) else found


def _count(result: RunResult, model: Model, found: Detections | LabelMap) -> None:
    result.frames += 1
    labels = found.labels if isinstance(found, Detections) else found.shares()
    result.found.update(model.work_dir.name(int(label)) for label in labels)
    if found.note:
        result.notes[found.note] += 1


def _frame_number(medium: Medium, frame: Frame) -> dict[str, float]:
    return {} if medium.is_image else dict(frame=frame.index, time=round(frame.time, 3))


def _map_name(medium: Medium, frame: Frame) -> str:
    return f'{medium.stem}.png' if medium.is_image else f'{medium.stem}/{frame.index:06d}.png'
