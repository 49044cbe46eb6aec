"""Live: the newest frames of webcams and of streams, whose connections may break and come back."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Event

import cv2
import numpy as np

from ..errors import UserError
from ..media import Address, Frame, Medium, read_frames, usable_rate
from .stream import read_ahead

TIMEOUT = 10.0  # seconds without an answer or a frame after which a connection counts as lost
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds before another attempt; each doubles the last
ERRORS = 2  # OpenCV's level of them: no warnings


class Ending:
    """The end of something live: when it is told to, or when its time is over.

    Args:
        duration: Its time in seconds from now on; None for any time.
    """

    def __init__(self, duration: float | None = None) -> None:
        self._told = Event()
        self._time = float('inf') if duration is None else time.monotonic() + duration

    def come(self) -> None:
        """Tells it to end."""
        self._told.set()

    def within(self, seconds: float) -> bool:
        """Waits until the end, but no longer than some seconds, and returns whether it came."""
        left = self._time - time.monotonic()
        return self._told.wait(max(min(seconds, left), 0)) or left <= seconds


def live_frames(
    medium: Medium,
    *,
    max_frames: int | None = None,
    duration: float | None = None,
    tell: Callable[[str], object] = lambda sentence: None,
) -> Iterator[Frame]:
    """Yields the newest frame of a webcam or a stream each time one is asked for.

    A thread reads all frames, so that none gets old; those that nobody asks for in time are
    dropped. Their numbers are left out: ``Frame.index`` counts what came.

    Args:
        medium: Something live.
        max_frames: Most frames that are yielded.
        duration: Most seconds.
        tell: Called with a sentence on each connection that is lost.

    Raises:
        UserError: If there is no frame at all, or the address holds a file.
    """
    ending = Ending(duration)
    if isinstance(medium.source, Address):
        coming = stream_frames(medium.source, ending, tell)
    else:
        coming = _until(read_frames(medium), ending)
    with closing(read_ahead(coming, 1, newest=True)) as frames:
        try:
            for count, frame in enumerate(frames, 1):
                yield frame
                if count == max_frames:
                    break
        finally:
            ending.come()


def _until(frames: Iterator[Frame], ending: Ending) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        if ending.within(0):
            break


def stream_frames(
    address: Address, ending: Ending, tell: Callable[[str], object]
) -> Iterator[Frame]:
    """Yields all frames of a stream until its ending; a connection that is lost is made again.

    The first attempt must succeed; later ones are made for ever, at longer and longer intervals.

    Raises:
        UserError: If there is no frame at all, or the address holds a file.
    """
    count, start, wait = 0, 0.0, FIRST_WAIT
    while not ending.within(0):
        for image, fps in _connected(address):
            now = time.monotonic()
            start = start if count else now
            yield Frame(image, count, now - start, fps)
            count, wait = count + 1, FIRST_WAIT
            if ending.within(0):
                return
        if not count:
            raise UserError(
                f'{address} gives no frames. Expected a stream that FFmpeg reads, RTSP or MJPEG: '
                'check address, user and password.'
            )
        tell(f'{address} gives no more frames; connecting again in {wait:g} s.')
        if ending.within(wait):
            return
        wait = min(2 * wait, LONGEST_WAIT)


def _connected(address: Address) -> Iterator[tuple[np.ndarray, float]]:
    """Yields images of one connection, each with the frames per second."""
    milliseconds = int(TIMEOUT * 1000)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds]
    limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
    with _quiet():
        capture = cv2.VideoCapture(address.url, cv2.CAP_FFMPEG, limits)
    try:
        length = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if length > 0 and address.url.lower().startswith('http'):  # by RTSP, recordings are live
            raise UserError(
                f'{address} is a file of {length:.0f} frames and not a stream, of which frames are '
                'left out: download it, and give the file.'
            )
        fps = usable_rate(capture)
        while True:
            asked = time.monotonic()
            with _quiet():
                there, image = capture.read()
            if not there or time.monotonic() - asked >= TIMEOUT:  # what the decoder had left
                return
            yield image, fps
    finally:
        capture.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """Lets OpenCV warn of nothing: we tell ourselves that a connection is lost."""
    log = cv2 if hasattr(cv2, 'setLogLevel') else cv2.utils.logging  # from OpenCV 5 on
    level = log.getLogLevel()
    log.setLogLevel(ERRORS)
    try:
        yield
    finally:
        log.setLogLevel(level)
