"""Tracking: identities of the objects in a video, by ByteTrack, and files of MOTChallenge."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..errors import UserError
from ..files import whole_file
from ..media import Frame, Medium
from .results import Classification, Detections, LabelMap, Result

OTHERS = {LabelMap: 'label maps', Classification: 'classes'}
LOW_SCORE = 0.1  # up to it, a detection is not taken for an object that was there before


class Tracking:
    """Gives the objects of videos identities, from 1 in each of them.

    ByteTrack (Zhang et al., 2022) as in the package ``trackers``. What moves is told by its place
    alone, so classes do not matter and may change. An object has an identity from the second frame
    on in which it is found, and keeps it for a second without being found.

    Args:
        score_thr: Detections up to this score begin no new identity; of these, only those remain
            that go on with an old one.

    Raises:
        UserError: If ``trackers`` is not installed.
    """

    def __init__(self, score_thr: float) -> None:
        try:
            from trackers import ByteTrackTracker
        except ImportError as error:
            raise UserError(
                '--track needs the package trackers: pip install "mmtrtvit[track]"'
            ) from error
        self._make: Callable[..., Any] = ByteTrackTracker
        self._score_thr = score_thr
        self._medium: Medium | None = None

    def __call__(self, medium: Medium, frame: Frame, found: Result) -> Detections:
        """Returns the detections of a frame with identities.

        Args:
            medium: Where the frame is from; all of its frames come in their order.
            frame: The frame.
            found: What was found, down to the lowest score.

        Raises:
            UserError: If the model is no detector.
        """
        from supervision import Detections as Boxes

        if not isinstance(found, Detections):
            raise UserError(
                f'--track follows what detectors find; this model gives {OTHERS[type(found)]}.'
            )
        if medium != self._medium:
            self._medium = medium
            self._tracker = self._make(
                frame_rate=frame.fps,
                track_activation_threshold=self._score_thr,
                high_conf_det_threshold=self._score_thr,
            )
        found = found.above(min(self._score_thr, LOW_SCORE))
        boxes = Boxes(found.boxes, confidence=found.scores, data=dict(index=np.arange(len(found))))
        tracked = self._tracker.update(boxes)
        ids = np.zeros(len(found), np.int64)
        if len(tracked):
            ids[tracked.data['index']] = np.asarray(tracked.tracker_id) + 1  # -1 without one
        return replace(found, track_ids=ids)[(found.scores > self._score_thr) | (ids > 0)]


def require_tracks(media: Iterable[Medium], *, tiles: bool) -> None:
    """Refuses what cannot be tracked.

    Args:
        media: The inputs.
        tiles: Whether they are looked at in tiles.

    Raises:
        UserError: If there are tiles, or an image, in which nothing moves.
    """
    if tiles:
        raise UserError('--track and --tile do not go together: leave one of them out.')
    still = [medium for medium in media if medium.is_image]
    if still:
        raise UserError(
            f'--track follows objects through videos, webcams and streams; {still[0]} is an image.'
        )


class TrackFiles:
    """Writes identities as MOTChallenge has them: one text file for each medium.

    Its lines are ``frame,id,left,top,width,height,score,-1,-1,-1``: frames from 1, the rest in
    pixels from 0, like the boxes of ``predictions.json``. Used in a ``with`` statement.

    Args:
        folder: Where to write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._medium: Medium | None = None
        self._open = ExitStack()

    def __enter__(self) -> 'TrackFiles':
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def write(self, medium: Medium, frame: Frame, found: Detections) -> None:
        """Writes the objects of a frame, after all of the media before."""
        if medium != self._medium:
            self._open.close()
            self._medium = medium
            path = self.folder / f'{medium.stem}.txt'
            self._file: TextIO = self._open.enter_context(_whole_text(path))
        for index, (left, top, right, bottom) in enumerate(found.boxes.tolist()):
            track_id = found.track_id(index)
            if track_id is not None:
                box = f'{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f}'
                score = f'{found.scores[index]:.4f}'
                self._file.write(f'{frame.index + 1},{track_id},{box},{score},-1,-1,-1\n')


@contextmanager
def _whole_text(path: Path) -> Iterator[TextIO]:
    with whole_file(path) as part, open(part, 'w', encoding='utf-8') as file:
        yield file
