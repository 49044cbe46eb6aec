"""The most memory that a model holds."""

import platform
import subprocess
import sys

import pytest
import torch

from mmtrtvit.analysis import timing
from mmtrtvit.deploy.measure.memory import MemoryMeter

# In a process of its own: what other tests did decides what glibc keeps.
HELD = """
import numpy as np
from mmtrtvit.deploy.measure.memory import MemoryMeter

def megabytes(count):
    return np.ones(count * 2**20, np.uint8)

meter, kept = MemoryMeter('cpu'), []
with meter.watching():
    kept.append(megabytes(30))
print(meter.peak)
kept.append(megabytes(100))  # another model
for passing in (40, 10):
    with meter.watching():
        megabytes(passing)
    print(meter.peak)
"""


@pytest.mark.skipif(platform.system() != 'Linux', reason='measured on Linux only')
def test_what_is_held_counts_and_what_others_hold_does_not():
    """Opening keeps 30 MB; a run takes 40 MB more for a moment."""
    done = subprocess.run([sys.executable, '-c', HELD], capture_output=True, text=True, check=True)
    peaks = [int(line) / 2**20 for line in done.stdout.split()]
    assert peaks == [pytest.approx(30, abs=4), *[pytest.approx(70, abs=8)] * 2]


def test_elsewhere_it_is_not_known(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, 'PROCESS', tmp_path)
    meter = MemoryMeter('cpu')
    with meter.watching():
        pass
    assert meter.peak is None


def test_on_a_gpu_it_is_what_the_gpu_has_less(monkeypatch):
    free = iter([1000, 700, 700, 650, 600, 600])
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: None)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: None)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (next(free), 1000))
    meter = MemoryMeter('cuda:0')
    for expected in (300, 350):
        with meter.watching():
            pass
        assert meter.peak == expected
