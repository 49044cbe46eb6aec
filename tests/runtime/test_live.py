"""What is live: an MJPEG server on this machine whose connections break."""

import itertools
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.media import find_media, read_frames
from mmtrtvit.runtime import Detector, live
from mmtrtvit.runtime.live import Ending, live_frames
from mmtrtvit.runtime.run import run

PASSWORD = 's3cret'


def picture(index):
    image = np.zeros((48, 64, 3), np.uint8)
    image[10:20, 4 * index % 50 :][:, :10] = 255
    return image


@contextmanager
def server(connections):
    """An MJPEG server that sends so many frames in each connection, and refuses any more.

    Yields its address.
    """
    left = iter(connections)

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self):
            count = next(left, None)
            if count is None:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=frame')
            self.end_headers()
            try:
                for index in range(count):
                    data = cv2.imencode('.jpg', picture(index))[1].tobytes()
                    head = f'--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}'
                    self.wfile.write(f'{head}\r\n\r\n'.encode() + data + b'\r\n')
                    time.sleep(0.01)
            except OSError:
                pass  # who looked has gone

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Camera) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f'http://me:{PASSWORD}@127.0.0.1:{http.server_port}/video'
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(live, 'FIRST_WAIT', 0.05)


def of(url):
    (medium,), _ = find_media([url])
    return medium


def test_a_connection_that_is_lost_is_made_again(capfd):
    told = []
    with server([30, 1000]) as url:
        frames = [*live_frames(of(url), max_frames=45, tell=told.append)]
    indices = [frame.index for frame in frames]
    assert len(frames) == 45 and indices == sorted({*indices}) and indices[-1] >= 44
    times = [frame.time for frame in frames]
    assert times == sorted(times) and 0 <= times[0] < times[-1]
    place = url.replace(f'me:{PASSWORD}@', '')
    assert told == [f'{place} gives no more frames; connecting again in 0.05 s.']
    assert PASSWORD not in str(capfd.readouterr())
    assert not [thread for thread in threading.enumerate() if thread.name == 'read_ahead']


def test_waits_double_and_the_time_ends_them(monkeypatch, capfd):
    monkeypatch.setattr(live, 'LONGEST_WAIT', 0.2)
    told = []
    with server([3]) as url:
        start = time.monotonic()
        assert [*live_frames(of(url), duration=1.0, tell=told.append)]
        assert 0.9 < time.monotonic() - start < 3
    waits = [float(sentence.split()[-2]) for sentence in told]
    assert waits[:4] == [0.05, 0.1, 0.2, 0.2]
    assert capfd.readouterr() == ('', '')  # nor does OpenCV say anything of its own


def test_a_slow_model_gets_the_newest_frame():
    with server([1000]) as url:
        frames = live_frames(of(url), max_frames=3)
        indices = [frame.index for frame in frames if time.sleep(0.2) is None]
    assert min(after - before for before, after in itertools.pairwise(indices)) > 5


def test_an_address_without_a_stream(capfd):
    with server([]) as url, pytest.raises(UserError, match='gives no frames. Expected') as caught:
        [*live_frames(of(url))]
    assert PASSWORD not in str(caught.value) + str(capfd.readouterr())


class Recording:
    """In place of cv2.VideoCapture: what has a length."""

    def __init__(self, *args):
        self.images = iter([picture(0)] * 3)

    def get(self, name):
        return 3.0 if name == cv2.CAP_PROP_FRAME_COUNT else 25.0

    def read(self):
        image = next(self.images, None)
        return image is not None, image

    def release(self):
        pass


def test_a_recording_is_a_stream_by_rtsp_alone(monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', Recording)
    told = []
    assert [*live_frames(of('rtsp://cam/1'), max_frames=2, tell=told.append)]
    with pytest.raises(UserError, match='a file of 3 frames and not a stream, .* download it'):
        [*live_frames(of('https://cam/a.mp4'))]


def test_a_frame_that_comes_too_late_is_none(monkeypatch):
    """FFmpeg's decoder gives what it had left, one frame after each timeout."""
    monkeypatch.setattr(cv2, 'VideoCapture', Recording)
    monkeypatch.setattr(live, 'TIMEOUT', 0.0)
    with pytest.raises(UserError, match='gives no frames'):
        [*live_frames(of('rtsp://cam/1'))]


def test_a_run_on_a_stream(bright, tmp_path):
    model_dir = bright()
    told = []
    with server([5, 1000]) as url:
        result = run(
            Detector(model_dir),
            [url],
            out_dir=tmp_path,
            max_frames=12,
            duration=20.0,
            tell=told.append,
        )
    assert result.frames == 12 and len(told) == 1 and result.total == 12
    text = (tmp_path / 'predictions.json').read_text()
    assert PASSWORD not in text and '/video' in text
    (medium,), _ = find_media([tmp_path / 'images'])
    assert medium.name.name == 'stream_1.mp4' and [*read_frames(medium)]


def test_the_end_of_a_time():
    ending = Ending(0.05)
    assert not ending.within(0) and ending.within(5) and ending.within(0)
    ending = Ending()
    assert not ending.within(0.01)
    ending.come()
    assert ending.within(0)
