import os
import signal

import pytest
from mmengine.fileio import get_file_backend

from mmtrtvit.engine.files import AtomicBackend


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
