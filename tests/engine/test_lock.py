"""Two trainings do not share a work dir."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mmtrtvit.engine.lock import OWNER, locked
from mmtrtvit.engine.runner import train
from mmtrtvit.errors import UserError

HOLD = """
import sys, time
from mmtrtvit.engine.lock import locked
with locked(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other():
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, 'run'], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'held\n'
    yield process
    process.kill()
    process.wait()


def test_a_second_training_is_refused_by_process_and_host(toy, other):
    with pytest.raises(
        UserError, match=rf'another training .*process {other.pid} on {socket.gethostname()}'
    ):
        train(toy())
    assert not list(Path('run').glob('*.pth'))


def test_the_lock_of_a_killed_training_is_none(toy, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert Path('run', OWNER).is_file()
    train(toy(loop=dict(by_epoch=True, max_epochs=1)))
    assert Path('run/epoch_1.pth').is_file()
    assert not Path('run', OWNER).exists()


def test_a_training_lets_go_at_its_end_and_at_an_error(tmp_path):
    with locked(tmp_path):
        assert str(os.getpid()) in Path(tmp_path, OWNER).read_text()
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        assert Path(tmp_path, OWNER).is_file()
