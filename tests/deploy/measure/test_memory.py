"""The most memory that a model holds."""

import platform

import numpy as np
import pytest
import torch

from mmtrtvit.analysis import timing
from mmtrtvit.deploy.measure.memory import MemoryMeter

MEGABYTE = 2**20


@pytest.mark.skipif(platform.system() != 'Linux', reason='measured on Linux only')
def test_what_is_held_counts_and_what_others_hold_does_not():
    """Opening keeps 30 MB; a run takes 40 MB more for a moment."""
    meter, kept = MemoryMeter('cpu'), []
    with meter.watching():
        kept.append(np.ones(30 * MEGABYTE, np.uint8))
    assert meter.peak / MEGABYTE == pytest.approx(30, abs=4)
    kept.append(np.ones(100 * MEGABYTE, np.uint8))  # another model
    with meter.watching():
        np.ones(40 * MEGABYTE, np.uint8)
    assert meter.peak / MEGABYTE == pytest.approx(70, abs=8)
    with meter.watching():
        np.ones(10 * MEGABYTE, np.uint8)
    assert meter.peak / MEGABYTE == pytest.approx(70, abs=8)


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
