"""Images, videos and what is live as frames, and the files that results go to."""

import glob
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from .errors import UserError, did_you_mean
from .files import whole_file, write_whole

IMAGES = ('.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')
STREAMS = ('rtsp://', 'rtsps://', 'http://', 'https://')
DEFAULT_FPS, MAX_FPS = 25.0, 240.0  # some files tell 0, NaN or the rate of a clock
# FFmpeg says nothing of its own, which may hold a stream's address with its password. OpenCV reads
# this once, when a process first opens a video of any kind.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
WHOLE = 0.95  # share of the announced frames and seconds that a whole video has, at least


@dataclass(frozen=True)
class Address:
    """Where a stream comes from; as text without what may be secret, such as a password.

    Attributes:
        url: As it was given.
    """

    url: str = field(repr=False)

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition('://')
        place, query, _ = rest.rpartition('@')[2].partition('?')
        return f'{scheme}://{place}{query and "?..."}'


@dataclass(frozen=True)
class Medium:
    """An image, a video, a webcam or a stream.

    Attributes:
        source: The file, the number of the webcam, or the address of the stream.
        name: Its path in folders of results, unlike that of any other input.
        stem: The name without suffix; with it, if that is what it takes to be unlike others.
    """

    source: Path | int | Address
    name: Path
    stem: Path

    def __str__(self) -> str:
        if isinstance(self.source, int):
            return f'webcam {self.source}'
        if isinstance(self.source, Address):
            return str(self.source)
        return os.fsencode(self.source.as_posix()).decode(errors='replace')

    @property
    def is_camera(self) -> bool:
        """Whether the source is the number of a webcam."""
        return isinstance(self.source, int)

    @property
    def is_live(self) -> bool:
        """Whether the source goes on without waiting for anybody, as webcams and streams do."""
        return not isinstance(self.source, Path)

    @property
    def is_image(self) -> bool:
        """Whether the source is an image file, by its suffix."""
        return isinstance(self.source, Path) and self.source.suffix.lower() in IMAGES

    def count(self, max_frames: int | None = None) -> int | None:
        """Returns the number of frames as the file tells it, None for what is live."""
        if self.is_image:
            return 1
        if self.is_live:
            return max_frames
        capture = cv2.VideoCapture(str(self.source))
        count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 1)
        capture.release()
        return min(count, max_frames or count)


class Frame(NamedTuple):
    """An image by itself, or one of a video, webcam or stream.

    Attributes:
        image: ``(H, W, 3)``, BGR.
        index: Its number, from 0.
        time: Seconds since the first one.
        fps: Frames per second: the average, or more where the first two are closer.
    """

    image: np.ndarray
    index: int = 0  # type: ignore[assignment]  # in place of tuple.index
    time: float = 0.0
    fps: float = DEFAULT_FPS


def find_media(
    inputs: Iterable[str | Path], exclude: Path | None = None
) -> tuple[list[Medium], list[str]]:
    """Finds the images and videos that inputs stand for.

    Args:
        inputs: Files, folders with all below them, glob patterns (``**`` for any folders),
            numbers of webcams, and addresses of streams. Hidden files are left out of folders.
        exclude: A folder to leave out, since results go there.

    Returns:
        The media in the order of the inputs, each once, and a sentence per input without any.
    """
    found: dict[Path | int | Address, tuple[Path | int | Address, Path]] = {}
    problems = []
    for name in map(str, inputs):
        if '://' in name:
            address = Address(name)
            if name.lower().startswith(STREAMS):
                number = 1 + sum(isinstance(source, Address) for source in found)
                found.setdefault(address, (address, Path(f'stream_{number}')))
            else:
                problems.append(f'{address} is no stream: expected {", ".join(STREAMS)}.')
            continue
        path = Path(name).expanduser()
        if name.isdecimal() and not path.exists():
            found.setdefault(int(name), (int(name), Path(f'webcam_{int(name)}')))
            continue
        files = list(_expand(path))
        if not files:
            problems.append(f'{name} {_why_nothing(path)}')
        for file, below in files:
            absolute = Path(os.path.abspath(file))
            if not file.is_file():
                problems.append(f'{file} {_why_nothing(file)}')
            elif exclude is None or exclude.absolute() not in absolute.parents:
                found.setdefault(absolute, (file, below))
    names = [below for _, below in found.values()]
    if len({*names}) < len(names):  # the same name in several folders
        root = os.path.commonpath([file.parent for file in found if isinstance(file, Path)])
        names = [
            file.relative_to(root) if isinstance(file, Path) else below
            for file, below in zip(found, names)
        ]
    stems = Counter(name.with_suffix('') for name in names)
    media = [
        Medium(source, name, name.with_suffix('') if stems[name.with_suffix('')] == 1 else name)
        for (source, _), name in zip(found.values(), names)
    ]
    return media, problems


def _expand(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yields the images and videos of a file, folder or pattern, with their paths below it.

    What has the name of one in a folder, but is a broken link or a pipe, is among them.
    """
    if path.is_file():
        if path.suffix.lower() in IMAGES + VIDEOS:
            yield path, Path(path.name)
    elif path.is_dir():
        for file in sorted(path.rglob('*')):
            below = file.relative_to(path)
            hidden = any(part.startswith('.') for part in below.parts)
            if file.suffix.lower() in IMAGES + VIDEOS and not hidden and not file.is_dir():
                yield file, below
    elif glob.has_magic(str(path)) and not os.path.lexists(path):
        for match in sorted(glob.glob(str(path), recursive=True)):
            if Path(match).exists():
                yield from _expand(Path(match))


def _why_nothing(path: Path) -> str:
    if path.is_file():
        return (
            f'is neither an image ({" ".join(IMAGES)}) nor a video '
            f'({" ".join(VIDEOS)}), by its name.'
        )
    if path.is_dir():
        return 'has no images or videos in it.'
    if os.path.islink(path):
        return f'is a link to {os.readlink(path)}, which does not exist.'
    if path.exists():
        return 'is neither a file nor a folder, but a device, pipe or socket.'
    if glob.has_magic(str(path)):
        return 'matches no images or videos.'
    siblings = path.parent.iterdir() if path.parent.is_dir() else ()
    return f'does not exist.{did_you_mean(path.name, (other.name for other in siblings))}'


def read_frames(medium: Medium, max_frames: int | None = None) -> Iterator[Frame]:
    """Yields the frames of a video or a webcam, one at a time.

    The times of a video are those that its file has for each frame, which need not be evenly
    spread; where it has none, they follow from the rate.

    Raises:
        UserError: If there is no frame, or, after the last one, if the file announces more.
    """
    camera = medium.is_camera
    capture = cv2.VideoCapture(medium.source if camera else str(medium.source))
    try:
        average = usable_rate(capture)
        fps = average if camera else max(average, _first_rate(medium))
        count, start, seconds = 0, time.monotonic() if camera else None, 0.0
        while max_frames is None or count < max_frames:
            there, image = capture.read()
            if not there:
                break
            stamp = time.monotonic() if camera else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            start = stamp if start is None else start
            if camera or stamp - start > seconds:
                seconds = round(stamp - start, 6)
            else:  # the first one, or a file without stamps
                seconds = count / average
            yield Frame(image, count, seconds, fps)
            count += 1
        else:
            return
        announced, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    finally:
        capture.release()
    if not count:
        raise UserError(f'{medium} {"does not answer" if camera else "cannot be read as a video"}.')
    length = announced / rate if rate > 0 and not camera else 0.0
    if count < WHOLE * announced - 1 and seconds + 1 / average < WHOLE * length:
        raise UserError(
            f'{medium} ends after {seconds:.1f} of {length:.1f} seconds: it was cut off or damaged '
            f'after frame {count}. There are results up to there.'
        )


def usable_rate(capture: cv2.VideoCapture) -> float:
    """Returns the average frames per second; where 0, NaN or a clock's rate is told, usual ones."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps <= MAX_FPS else DEFAULT_FPS


def _first_rate(medium: Medium) -> float:
    """Frames per second of the first two frames by their stamps, 0 if these do not tell."""
    capture = cv2.VideoCapture(str(medium.source))
    stamps = [capture.get(cv2.CAP_PROP_POS_MSEC) for _ in range(2) if capture.grab()]
    capture.release()
    apart = stamps[1] - stamps[0] if len(stamps) == 2 else 0.0
    fps = round(1000 / apart, 3) if apart > 0 else 0.0
    return fps if fps <= MAX_FPS else 0.0


def write_image(path: Path, image: np.ndarray) -> Path:
    """Writes an image in the format of the name, or as ``<name>.png`` where that has no colours.

    Args:
        path: File to write.
        image: ``(H, W, 3)`` BGR or ``(H, W)``.
    """
    if path.suffix.lower() == '.pgm':
        path = path.with_name(f'{path.name}.png')
    _, data = cv2.imencode(path.suffix, image)
    write_whole(path, data.data)
    return path


@contextmanager
def open_video(path: Path, fps: float, size: tuple[int, int]) -> Iterator[cv2.VideoWriter]:
    """Opens a video, MPEG-4, that gets its name when it is complete.

    Args:
        path: File to write, ``*.mp4``.
        fps: Frames per second.
        size: Width and height in pixels, both even.

    Raises:
        UserError: If this OpenCV cannot encode it, or its file came out cut off.
    """
    with whole_file(path) as part:
        writer = cv2.VideoWriter(str(part), cv2.VideoWriter_fourcc(*'mp4v'), fps, size)
        try:
            if not writer.isOpened():
                raise UserError(f'this OpenCV cannot encode MPEG-4 to write {path}.')
            yield writer
        finally:
            writer.release()
        capture = cv2.VideoCapture(str(part))  # the writer tells nobody of a full disk
        if not capture.isOpened():
            raise UserError(f'{path} was cut off. Free some space, or choose another disk.')
        capture.release()


class DrawnMedia:
    """Writes frames under the names of their media: images as such, all else as mp4 videos.

    Used in a ``with`` statement; a video in which an error occurs is removed. One of odd width or
    height gets one pixel more, since the codec takes even sizes only. The video of what is live has
    each frame as often as real time takes, all in the size of the first.

    Args:
        folder: Where to write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._medium: Medium | None = None
        self._video = ExitStack()

    def __enter__(self) -> 'DrawnMedia':
        return self

    def __exit__(self, *error: Any) -> None:
        self._video.__exit__(*error)

    def write(self, medium: Medium, frame: Frame, image: np.ndarray) -> None:
        """Writes what was drawn on a frame, ``(H, W, 3)``, BGR, after all of the media before."""
        path = self.folder / medium.name
        if medium.is_image:
            write_image(path, image)
            return
        height, width = image.shape[:2]
        image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if medium != self._medium:
            self._video.close()
            self._medium, self._written = medium, 0
            path = path if path.suffix.lower() == '.mp4' else path.with_name(f'{path.name}.mp4')
            self._size = image.shape[1::-1]
            self._writer = self._video.enter_context(open_video(path, frame.fps, self._size))
        elif image.shape[1::-1] != self._size:  # of a stream that came back
            image = cv2.resize(image, self._size)
        for _ in range(self._written, math.floor(frame.time * frame.fps + 0.5) + 1):
            self._writer.write(image)
            self._written += 1


@contextmanager
def open_window(title: str) -> Iterator[Callable[[np.ndarray], bool]]:
    """Opens a window on the screen.

    Yields:
        A function that shows an image, ``(H, W, 3)``, BGR, and returns whether the user wants
        more of them, which the keys q and Esc deny.

    Raises:
        UserError: If there is no screen, or OpenCV came without windows.
    """
    if sys.platform == 'linux' and not {'DISPLAY', 'WAYLAND_DISPLAY'} & {*os.environ}:
        raise UserError('--show needs a screen, and there is none here. Leave it out.')
    try:
        cv2.namedWindow(title, cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise UserError(
            '--show: this OpenCV came without windows (opencv-python-headless). Leave '
            'it out, or install opencv-python.'
        ) from error

    def show(image: np.ndarray) -> bool:
        cv2.imshow(title, image)
        return cv2.waitKey(1) & 0xFF not in (ord('q'), 27)

    try:
        yield show
    finally:
        cv2.destroyWindow(title)


def show(path: Path) -> None:
    """Shows an image on the screen until the key q or Esc is pressed.

    Raises:
        UserError: As :func:`open_window`.
    """
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    with open_window(path.name) as show_image:
        while show_image(image):
            pass
