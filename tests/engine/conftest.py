"""A classifier, its data and its metric for plain MMEngine, small enough to train in a test."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn
from torch.utils.data import Dataset

from mmtrtvit.datasets import make_shape_folders, make_shapes
from mmtrtvit.engine.outputs import AtomicBackend

RUNS = itertools.count()


@DATASETS.register_module()
class ToyPatches(Dataset):
    """Patches of two brightnesses; each of the three generators of random numbers has a say."""

    METAINFO = dict(classes=('dark', 'bright'))
    metainfo = METAINFO

    def __init__(self, augment=False, count=16):
        self.augment = augment
        self.images = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index] + index % 2
        if self.augment:
            image = image.flip(-1) if random.random() < 0.5 else image
            image = image + float(np.random.normal(0, 0.1)) + 0.1 * torch.randn(())
        return dict(inputs=image, label=index % 2)


@MODELS.register_module()
class ToyClassifier(BaseModel):
    def __init__(self, channels=4, num_classes=2, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.conv = nn.Conv2d(3, channels, 3)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)
        self.inputs = []

    def forward(self, inputs, label, mode='tensor'):
        x = self.norm(self.conv(inputs)).relu()
        if self.training:  # drop path
            self.inputs.append(inputs.sum().item())
            x = x * (torch.rand(len(x), 1, 1, 1, device=x.device) < 0.8) / 0.8
        scores = self.head(x.mean((2, 3)))
        if mode == 'loss':
            return dict(loss=nn.functional.cross_entropy(scores, label))
        return [dict(correct=bool(hit)) for hit in scores.argmax(1) == label]


@METRICS.register_module()
class ToyAccuracy(BaseMetric):
    def __init__(self, silent=False):
        super().__init__()
        self.silent = silent

    def process(self, data_batch, data_samples):
        self.results += [sample['correct'] for sample in data_samples]

    def compute_metrics(self, results):
        return {} if self.silent else dict(accuracy=sum(results) / len(results))


@HOOKS.register_module()
class ToyKill(Hook):
    """Ends the process as a power cut would."""

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class ToyKillWhileSaving(Hook):
    """Ends the process when half of a file is written."""

    def __init__(self, name):
        self.name = name

    def before_run(self, runner):
        put = AtomicBackend.put

        def put_or_die(backend, data, path):
            if Path(path).name == self.name:
                os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
                data = data[: len(data) // 2]
            put(backend, data, path)

        AtomicBackend.put = put_or_die


@pytest.fixture(scope='session')
def trainable_models(small_models, tmp_path_factory):
    """The configs of the small models beside data of a few more images."""
    folder = tmp_path_factory.mktemp('trainable_models')
    for file in small_models.glob('*.py'):
        shutil.copy(file, folder)
    make_shapes(folder / 'data/shapes', 8, val=1, size=(64, 96))
    make_shape_folders(folder / 'data/shape_folders', 6, val=6)
    return folder


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Returns a function that makes configs; 3 epochs of 4 iterations unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def make(work_dir='run', workers=0, loop=None, kill_at=None, model=None, **changes):
        hooks = [dict(type='EpochSeedHook'), dict(type='CheckWeightsHook')]
        if kill_at:
            hooks.append(dict(type='ToyKill', iteration=kill_at))

        def loader(train):
            return dict(
                batch_size=4,
                num_workers=workers,
                collate_fn=dict(type='default_collate'),
                dataset=dict(type='ToyPatches', augment=train),
                worker_init_fn=dict(type='keep_worker_seed'),
                sampler=dict(type='DefaultSampler', shuffle=train),
            )

        return Config(
            {
                **dict(
                    default_scope='mmengine',
                    experiment_name=f'toy{next(RUNS)}',
                    work_dir=str(tmp_path / work_dir),
                    model=dict(type='ToyClassifier', **(model or {})),
                    train_dataloader=loader(True),
                    val_dataloader=loader(False),
                    test_dataloader=loader(False),
                    train_cfg=loop or dict(by_epoch=True, max_epochs=3),
                    val_cfg=dict(),
                    test_cfg=dict(),
                    val_evaluator=dict(type='ToyAccuracy'),
                    test_evaluator=dict(type='ToyAccuracy'),
                    optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
                    param_scheduler=[
                        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=8)
                    ],
                    randomness=dict(seed=5),
                    default_hooks=dict(checkpoint=dict(type='SafeCheckpointHook', interval=1)),
                    custom_hooks=hooks,
                ),
                **changes,
            }
        )

    yield make
    torch.set_num_threads(threads)


@pytest.fixture
def train_in_child(tmp_path):
    """Returns a function that trains a toy in a process of its own and gives back its exit code.

    No fork: PyTorch's autograd works in none once the parent has made its threads.
    """

    def run(config):
        file = tmp_path / 'child_config.py'
        config.dump(file)
        child = Path(__file__).with_name('child.py')
        return subprocess.run([sys.executable, child, file]).returncode

    return run
