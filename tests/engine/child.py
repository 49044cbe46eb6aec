"""Trains a toy of conftest.py in a process of its own, for tests that kill it: child.py CONFIG."""

import importlib.util
import sys
from pathlib import Path

from mmengine.config import Config

if __name__ == '__main__':
    spec = importlib.util.spec_from_file_location('toys', Path(__file__).with_name('conftest.py'))
    spec.loader.exec_module(importlib.util.module_from_spec(spec))

    import torch

    from mmtrtvit.engine.runner import train

    torch.set_num_threads(1)
    train(Config.fromfile(sys.argv[1]))
