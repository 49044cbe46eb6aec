import itertools
import json
import os
import re
import sys
import weakref
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmtrtvit import media
from mmtrtvit.errors import UserError
from mmtrtvit.media import (
    DrawnMedia,
    Frame,
    Medium,
    find_media,
    open_window,
    read_frames,
    write_image,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names_of(inputs, **options):
    found, problems = find_media(inputs, **options)
    return [(str(medium), medium.name.as_posix()) for medium in found], problems


def write_clip(path, count=5, fps=10.0, size=(48, 32)):
    """A video whose frames get brighter by 40 each."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, size)
    for index in range(count):
        writer.write(np.full((size[1], size[0], 3), 40 * index, np.uint8))
    writer.release()


def read_clip(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        there, image = capture.read()
        if not there:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(image)


class Webcam:
    """Stands in for cv2.VideoCapture: three frames, or as many as ``count``."""

    count = 3
    now = 0.0
    opened = []

    def __init__(self, source):
        self.opened.append(source)
        self.left = self.count

    def get(self, key):
        return 10.0 if key == cv2.CAP_PROP_FPS else 0.0

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((32, 48, 3), 100, np.uint8)

    def grab(self):
        return True

    def release(self):
        pass


def test_a_folder_with_all_below_it(folder):
    touch(
        'in/b.JPG',
        'in/a.png',
        'in/sub/c.tif',
        'in/notes.txt',
        'in/.trash/d.jpg',
        'in/._a.png',
        'in/clip.MP4',
    )
    assert names_of(['in']) == (
        [
            ('in/a.png', 'a.png'),
            ('in/b.JPG', 'b.JPG'),
            ('in/clip.MP4', 'clip.MP4'),
            ('in/sub/c.tif', 'sub/c.tif'),
        ],
        [],
    )


def test_results_are_not_read_again(folder):
    touch('in/a.png', 'in/infer/images/a.png')
    assert names_of(['in'], exclude=Path('in/infer'))[0] == [('in/a.png', 'a.png')]


def test_globs(folder):
    touch('x/1.jpg', 'x/2.jpg', 'x/2.txt', 'x/deep/er/3.jpg', 'y[1]/4.jpg', 'y1/5.jpg')
    assert names_of(['x/*.*'])[0] == [('x/1.jpg', '1.jpg'), ('x/2.jpg', '2.jpg')]
    assert names_of(['x/**/3.jpg'])[0] == [('x/deep/er/3.jpg', '3.jpg')]
    assert names_of(['y[1]/4.jpg'])[0] == [('y[1]/4.jpg', '4.jpg')]  # a name before a pattern
    assert names_of(['x/d*'])[0] == [('x/deep/er/3.jpg', 'er/3.jpg')]


def test_each_file_once(folder):
    touch('x/1.jpg')
    assert names_of(['x/1.jpg', 'x', folder / 'x', './x/../x/1.jpg', 'x/*'])[0] == [
        ('x/1.jpg', '1.jpg')
    ]


def test_the_same_name_in_several_folders(folder):
    touch('x/1.jpg', 'y/1.jpg', 'y/z/2.jpg')
    assert names_of(['x/1.jpg', 'y/1.jpg'])[0] == [('x/1.jpg', 'x/1.jpg'), ('y/1.jpg', 'y/1.jpg')]
    assert [name for _, name in names_of(['x', 'y', '0'])[0]] == [
        'x/1.jpg',
        'y/1.jpg',
        'y/z/2.jpg',
        'webcam_0',
    ]


def test_stems(folder):
    touch('x/1.jpg', 'x/1.png', 'x/2.0.jpg')
    assert [medium.stem.as_posix() for medium in find_media(['x'])[0]] == ['1.jpg', '1.png', '2.0']


def test_webcams(folder):
    found, _ = find_media(['0', '2'])
    assert [(medium.source, str(medium), medium.is_camera) for medium in found] == [
        (0, 'webcam 0', True),
        (2, 'webcam 2', True),
    ]
    touch('0/a.jpg')
    assert names_of(['0'])[0] == [('0/a.jpg', 'a.jpg')]


def test_streams_have_numbers_and_keep_their_secrets(folder):
    urls = ['rtsp://me:s3cret@cam:554/live', 'HTTP://cam/video?password=s3cret', '0']
    found, problems = find_media([*urls, urls[0], 'rtps://me:s3cret@cam'])
    assert [(str(medium), medium.name.as_posix()) for medium in found] == [
        ('rtsp://cam:554/live', 'stream_1'),
        ('HTTP://cam/video?...', 'stream_2'),
        ('webcam 0', 'webcam_0'),
    ]
    assert all(medium.is_live and medium.count() is None for medium in found)
    assert found[0].source.url == urls[0] and 's3cret' not in repr(found)
    assert problems == ['rtps://cam is no stream: expected rtsp://, rtsps://, http://, https://.']


@pytest.mark.parametrize('password', ['a/b', 'a#b', 'a?b', 'a@b', 'a:b', '%40'])
def test_no_password_is_shown_however_it_is_written(password):
    assert str(media.Address(f'rtsp://me:{password}@cam/1')) == 'rtsp://cam/1'


def test_a_stream_that_comes_back_in_another_size(folder):
    (stream,) = find_media(['rtsp://cam'])[0]
    with DrawnMedia(folder / 'out') as drawn:
        for index, size in enumerate([(32, 48, 3), (64, 64, 3)]):
            frame = Frame(np.full(size, 100, np.uint8), index, index / 25)
            drawn.write(stream, frame, frame.image)
    assert [frame.shape for frame in read_clip('out/stream_1.mp4')[0]] == [(32, 48, 3)] * 2


def test_what_is_not_there_is_told(folder):
    touch('in/street.jpg', 'in/notes.txt')
    (folder / 'empty').mkdir()
    found, problems = find_media(['in/stret.jpg', 'in/notes.txt', 'empty', '*.jpg', 'no/a.jpg'])
    assert found == []
    for problem, part in zip(
        problems,
        [
            'in/stret.jpg does not exist. Did you mean street.jpg?',
            'in/notes.txt is neither an image (.bmp .jpeg',
            'empty has no images or videos',
            '*.jpg matches no images',
            'no/a.jpg does not',
        ],
    ):
        assert problem.startswith(part)
    assert len(problems) == 5


@pytest.mark.skipif(os.name == 'nt', reason='a system without FIFOs')
def test_what_is_no_ordinary_file_is_told_and_left_out(folder):
    os.mkfifo('pipe.jpg')
    Path('gone.jpg').symlink_to('nowhere.jpg')
    Path('loop').symlink_to('loop')
    touch('a.jpg', 'sub/b.jpg')
    Path('sub/up').symlink_to('..')
    found, problems = names_of(['pipe.jpg', 'gone.jpg', 'loop', '*.jpg', 'sub'])
    assert [name for name, _ in found] == ['a.jpg', 'sub/b.jpg']
    assert 'pipe.jpg is neither a file nor a folder, but a device, pipe or socket.' in problems
    assert 'gone.jpg is a link to nowhere.jpg, which does not exist.' in problems
    assert 'loop is a link to loop, which does not exist.' in problems
    found, problems = names_of(['.'])
    assert [name for name, _ in found] == ['a.jpg', 'sub/b.jpg']
    assert [problem.split()[0] for problem in problems] == ['gone.jpg', 'pipe.jpg']


def test_names_that_are_no_text(folder):
    touch(os.fsdecode(b'\xff.jpg'))
    (found,) = find_media(['.'])[0]
    assert str(found).encode() == '\ufffd.jpg'.encode()
    assert json.loads(json.dumps(str(found))) == str(found)


def test_frames_of_a_video(folder):
    write_clip('clip.mp4')
    (clip,) = find_media(['clip.mp4'])[0]
    assert (clip.count(), clip.count(3), clip.count(9)) == (5, 3, 5)
    frames = list(read_frames(clip))
    assert [(frame.index, frame.time, frame.fps) for frame in frames] == [
        (0, 0.0, 10.0),
        (1, 0.1, 10.0),
        (2, 0.2, 10.0),
        (3, 0.3, 10.0),
        (4, 0.4, 10.0),
    ]
    assert [round(frame.image.mean() / 40) for frame in frames] == [0, 1, 2, 3, 4]
    assert len(list(read_frames(clip, 2))) == 2


def test_frames_are_read_one_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(Webcam, 'count', 1000)
    monkeypatch.setattr(cv2, 'VideoCapture', Webcam)
    read, alive = 0, []
    for frame in read_frames(Medium(0, Path('webcam_0'), Path('webcam_0'))):
        read += 1
        alive = [image for image in [*alive, weakref.ref(frame.image)] if image() is not None]
        assert len(alive) <= 2
    assert read == 1000 and alive


def write_uneven_clip(path, times):
    """A video whose frames get brighter by 20 each and stand at the given seconds."""
    av = pytest.importorskip('av')
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for index, seconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index % 255, np.uint8))
            frame.pts, frame.time_base = int(seconds * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.avi'])
def test_frames_have_the_times_of_the_file(folder, suffix):
    times = [0, 0.1, 0.5, 0.6, 2.0, 2.1, 3.5]
    write_uneven_clip(f'clip{suffix}', times)
    (clip,) = find_media([f'clip{suffix}'])[0]
    frames = list(read_frames(clip))
    assert [frame.time for frame in frames] == pytest.approx(times)
    assert {frame.fps for frame in frames} <= {10.0, 25.0}
    with DrawnMedia(folder / 'out') as out:
        for frame in frames:
            out.write(clip, frame, frame.image)
    (written,) = (folder / 'out').iterdir()
    images, fps = read_clip(written)
    for frame in frames:
        assert abs(images[round(frame.time * fps)].mean() - frame.image.mean()) < 5


def test_a_video_that_is_cut_off_says_so(folder):
    write_uneven_clip('clip.mkv', [index / 10 for index in range(100)])
    whole = Path('clip.mkv').read_bytes()
    Path('clip.mkv').write_bytes(whole[: len(whole) // 2])
    (clip,) = find_media(['clip.mkv'])[0]
    frames = []
    with pytest.raises(UserError, match=r'clip\.mkv ends after [345]\.\d of 10\.0 seconds'):
        for frame in read_frames(clip):
            frames.append(frame)
    assert 30 < len(frames) < 70


@pytest.mark.parametrize('fps', [0.0, float('nan'), 90000.0])
def test_a_video_without_a_usable_frame_rate(folder, monkeypatch, fps):
    monkeypatch.setattr(cv2, 'VideoCapture', Webcam)
    monkeypatch.setattr(Webcam, 'get', lambda self, key: fps if key == cv2.CAP_PROP_FPS else 0.0)
    frames = list(read_frames(Medium(Path('clip.mp4'), Path('clip.mp4'), Path('clip'))))
    assert [(frame.fps, frame.time) for frame in frames] == [
        (25.0, 0.0),
        (25.0, 0.04),
        (25.0, 0.08),
    ]


def test_a_video_that_cannot_be_read(folder):
    Path('clip.mp4').write_bytes(b'no video')
    (clip,) = find_media(['clip.mp4'])[0]
    assert clip.count() == 1
    with pytest.raises(UserError, match='^clip.mp4 cannot be read as a video'):
        list(read_frames(clip))


def test_a_webcam_that_is_not_there(folder, monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', Webcam)
    monkeypatch.setattr(Webcam, 'count', 0)
    (webcam,) = find_media(['1'])[0]
    with pytest.raises(UserError, match='^webcam 1 does not answer'):
        list(read_frames(webcam))
    assert webcam.count() is None and webcam.count(5) == 5


def test_times_of_a_webcam_are_real(folder, monkeypatch):
    clock = iter([50.0, 50.25, 51.0, 53.0])
    monkeypatch.setattr(media.time, 'monotonic', lambda: next(clock))
    monkeypatch.setattr(cv2, 'VideoCapture', Webcam)
    (webcam,) = find_media(['0'])[0]
    assert [frame.time for frame in read_frames(webcam)] == [0.25, 1.0, 3.0]


def test_a_written_video_has_the_frames_of_its_source(folder):
    write_clip('clip.mp4')
    (clip,) = find_media(['clip.mp4'])[0]
    with DrawnMedia(Path('out')) as drawn:
        for frame in read_frames(clip):
            drawn.write(clip, frame, frame.image)
        assert not Path('out/clip.mp4').exists()
    frames, fps = read_clip('out/clip.mp4')
    assert fps == 10.0 and frames[0].shape == (32, 48, 3)
    assert [round(frame.mean() / 40) for frame in frames] == [0, 1, 2, 3, 4]
    assert os.listdir('out') == ['clip.mp4']


def test_videos_in_a_row_and_other_formats(folder):
    touch('a.avi', 'b.mp4', 'c.jpg')
    found = find_media(['a.avi', 'b.mp4', 'c.jpg'])[0]
    image = np.zeros((32, 48, 3), np.uint8)
    with DrawnMedia(Path('out')) as drawn:
        for medium, index in itertools.product(found[:2], range(3)):
            drawn.write(medium, Frame(image, index, index / 25), image)
        done, part = sorted(os.listdir('out'))
        assert done == 'a.avi.mp4' and re.fullmatch(r'b\.\w{16}\.part\.mp4', part)
        drawn.write(found[2], Frame(image), image)
    assert sorted(os.listdir('out')) == ['a.avi.mp4', 'b.mp4', 'c.jpg']
    assert [len(read_clip(f'out/{name}')[0]) for name in ('a.avi.mp4', 'b.mp4')] == [3, 3]


def test_odd_sizes_grow_to_even_ones(folder):
    touch('a.mp4')
    (found,) = find_media(['a.mp4'])[0]
    image = np.zeros((31, 47, 3), np.uint8)
    with DrawnMedia(Path('out')) as drawn:
        drawn.write(found, Frame(image), image)
    assert read_clip('out/a.mp4')[0][0].shape == (32, 48, 3)


def test_a_video_of_a_webcam_plays_in_real_time(folder):
    (webcam,) = find_media(['0'])[0]
    with DrawnMedia(Path('out')) as drawn:
        for index, time in enumerate([0.01, 0.5, 0.52, 1.0]):
            image = np.full((32, 48, 3), 60 * index, np.uint8)
            drawn.write(webcam, Frame(image, index, time, 10.0), image)
    frames, _ = read_clip('out/webcam_0.mp4')
    assert [round(frame.mean() / 60) for frame in frames] == [0] + [1] * 5 + [3] * 5


def test_an_error_leaves_no_half_video(folder):
    touch('a.mp4')
    (found,) = find_media(['a.mp4'])[0]
    image = np.zeros((32, 48, 3), np.uint8)
    with pytest.raises(ZeroDivisionError):
        with DrawnMedia(Path('out')) as drawn:
            drawn.write(found, Frame(image), image)
            (part,) = os.listdir('out')
            assert part.startswith('a.') and part.endswith('.part.mp4')
            1 / 0  # noqa: B018
    assert os.listdir('out') == []


def test_a_video_on_a_full_disk(folder, full_disk):
    touch('a.mp4')
    (found,) = find_media(['a.mp4'])[0]
    noise = np.random.default_rng(0)
    with full_disk(10_000), pytest.raises(UserError, match='out/a.mp4 was cut off. Free some'):
        with DrawnMedia(Path('out')) as drawn:
            for index in range(5):
                image = noise.integers(256, size=(96, 96, 3), dtype=np.uint8)
                drawn.write(found, Frame(image, index, index / 25), image)
    assert os.listdir('out') == []


def test_no_encoder_is_told(folder, monkeypatch):
    monkeypatch.setattr(cv2.VideoWriter, 'isOpened', lambda self: False, raising=False)
    touch('a.mp4')
    (found,) = find_media(['a.mp4'])[0]
    image = np.zeros((32, 48, 3), np.uint8)
    with pytest.raises(UserError, match='cannot encode MPEG-4'):
        with DrawnMedia(Path('out')) as drawn:
            drawn.write(found, Frame(image), image)


@pytest.mark.parametrize('suffix', media.IMAGES)
def test_images_of_every_format(folder, suffix):
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, :15] = 200, 100, 50
    for name in (f'äx{suffix}', f'Y{suffix.upper()}'):
        path = write_image(Path('my out', name), image)
        assert path.suffix.lower() == suffix.replace('.pgm', '.png')
        back = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(back.astype(int) - image)[:, 5:10].max() < 12


@pytest.mark.skipif(sys.platform != 'linux', reason='screens are found by environment variables')
def test_no_screen_is_told(monkeypatch):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match='--show needs a screen'), open_window('title'):
        pass


def test_no_windows_are_told(monkeypatch):
    def headless(*args):
        raise cv2.error('The function is not implemented')

    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.setattr(cv2, 'namedWindow', headless)
    with pytest.raises(UserError, match='opencv-python-headless'), open_window('title'):
        pass


def test_a_window_until_q(monkeypatch):
    calls = []
    keys = iter([-1, ord('x'), ord('q')])
    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.setattr(cv2, 'namedWindow', lambda title, flag: calls.append('open'))
    monkeypatch.setattr(cv2, 'imshow', lambda title, image: calls.append(image.shape))
    monkeypatch.setattr(cv2, 'waitKey', lambda delay: next(keys))
    monkeypatch.setattr(cv2, 'destroyWindow', lambda title: calls.append('closed'))
    with open_window('title') as show:
        assert [show(np.zeros((2, 2, 3))) for _ in range(3)] == [True, True, False]
    assert calls == ['open', *[(2, 2, 3)] * 3, 'closed']
