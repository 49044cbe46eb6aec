import errno
import os
import pickle
import signal

import cv2
import numpy as np
import pytest
from mmengine.fileio import get_file_backend

from mmtrtvit.engine.outputs import AtomicBackend, ImageBackend, make_dump


def test_mmengine_finds_the_backend_by_name(tmp_path):
    backend = get_file_backend(tmp_path / 'x', backend_args=dict(backend='atomic'))
    backend.put(b'weights', tmp_path / 'new' / 'x.pth')
    assert isinstance(backend, AtomicBackend)
    assert backend.get(tmp_path / 'new' / 'x.pth') == b'weights'
    assert os.listdir(tmp_path / 'new') == ['x.pth']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    path = tmp_path / 'x.pth'
    path.write_bytes(b'old')

    def fail(*args):
        raise OSError('disk full')

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match='disk full'):
        AtomicBackend().put(b'new', path)
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['x.pth']


def test_a_killed_write_leaves_the_old_file_and_no_obstacle(tmp_path, monkeypatch):
    path = tmp_path / 'x.pth'
    path.write_bytes(b'old')
    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', lambda descriptor: os.kill(os.getpid(), signal.SIGKILL))
        child = os.fork()
        if not child:
            AtomicBackend().put(b'new', path)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.read_bytes() == b'old'
    assert not [name for name in os.listdir(tmp_path) if name.endswith('.pth') and name != 'x.pth']
    AtomicBackend().put(b'new', path)
    assert path.read_bytes() == b'new'
    assert os.listdir(tmp_path) == ['x.pth']


def test_a_full_disk_is_told_by_the_name_of_the_checkpoint(tmp_path, full_disk):
    path = tmp_path / 'x.pth'
    path.write_bytes(b'old')
    with full_disk(1000), pytest.raises(OSError) as caught:
        AtomicBackend().put(bytes(2000), path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['x.pth']


def test_images_are_written_or_an_error_is_raised(tmp_path, full_disk):
    backend = ImageBackend(save_dir=str(tmp_path), img_save_dir='images')
    image = np.random.default_rng(0).integers(256, size=(40, 50, 3), dtype=np.uint8)
    backend.add_image('test', image, step=3)
    with full_disk(1000), pytest.raises(OSError):
        backend.add_image('test', image, step=4)
    assert os.listdir(tmp_path / 'images') == ['test_3.png']
    assert (cv2.imread(str(tmp_path / 'images' / 'test_3.png'))[..., ::-1] == image).all()


def test_predictions_are_written_whole(tmp_path, full_disk):
    path = tmp_path / 'predictions.pkl'
    dump = make_dump('DumpResults', path)
    dump.process({}, [dict(label=1), dict(label=2)])
    assert dump.evaluate(size=2) == {}
    dump.process({}, [dict(label=number) for number in range(1000)])
    with full_disk(1000), pytest.raises(OSError):
        dump.evaluate(size=1000)
    assert pickle.loads(path.read_bytes()) == [dict(label=1), dict(label=2)]
    assert os.listdir(tmp_path) == ['predictions.pkl']
