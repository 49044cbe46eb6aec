"""Tar and parquet files give what the folders that they were made of give."""

import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mmtrtvit.classification.stream import SeededSamples, StreamSampler
from mmtrtvit.datasets import make_shape_folders
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.errors import UserError

pytest.importorskip('mmpretrain')

CLASSES = ('disc', 'ring', 'triangle')
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Ten images in folders, in two tar files and, where that is installed, in parquet."""
    import_host('mmpretrain')
    root = tmp_path_factory.mktemp('data')
    make_shape_folders(root / 'folders', 10, val=1)
    files = sorted((root / 'folders/training').rglob('*.png'))
    (root / 'tars').mkdir()
    for number, part in enumerate((files[:4], files[4:])):
        with tarfile.open(root / f'tars/train-{number}.tar', 'w') as tar:
            for file in part:
                tar.add(file, file.relative_to(root / 'folders/training'))
    return root


def build(kind, **options):
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import DATASETS

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(dict(type=kind, pipeline=PIPELINE, **options))


@pytest.fixture(scope='module')
def folders(root):
    return build(
        'CustomDataset',
        data_root=str(root / 'folders'),
        data_prefix='training',
        metainfo=dict(classes=CLASSES),
    )


def samples(dataset):
    """Images by label, augmented as the first epoch of a training does it."""
    sampler, seeded = StreamSampler(dataset, seed=1), SeededSamples(dataset)
    found = [seeded[index] for index, _ in zip(sampler, range(len(dataset)))]
    return [
        (int(each['data_samples'].gt_label), each['inputs'].numpy().tobytes()) for each in found
    ]


def test_tar_files_are_read_like_the_folders(root, folders):
    tars = build('TarDataset', files=str(root / 'tars/train-*.tar'), metainfo=dict(classes=CLASSES))
    assert len(tars) == 10 and samples(tars) == samples(folders)
    assert tars.get_data_info(0)['img_path'].endswith(
        '/tars/train-0.tar/disc/' + Path(folders.get_data_info(0)['img_path']).name
    )


@pytest.fixture(scope='module')
def parquet(root):
    """Writes the images as a repository of the hub has them; none of it gets into a cache."""
    datasets = pytest.importorskip('datasets')
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, 'HF_DATASETS_CACHE', root / 'cache')

    def write(name, labels=None, classes=CLASSES):
        files = sorted((root / 'folders/training').rglob('*.png'))
        labels = labels or [CLASSES.index(file.parent.name) for file in files]
        features = datasets.Features(
            image=datasets.Image(),
            label=datasets.ClassLabel(names=list(classes)) if classes else datasets.Value('int64'),
        )
        rows = dict(
            image=[dict(bytes=file.read_bytes(), path=file.name) for file in files], label=labels
        )
        target = root / name / 'data/train-00000-of-00001.parquet'
        target.parent.mkdir(parents=True)
        datasets.Dataset.from_dict(rows, features).to_parquet(target)
        return str(root / name)

    yield write
    patch.undo()


def test_parquet_is_read_like_the_folders(parquet, folders):
    data = build('ParquetDataset', path=parquet('named'))
    assert data.metainfo['classes'] == CLASSES
    assert len(data) == 10 and samples(data) == samples(folders)


def test_mistakes_in_parquet(parquet, monkeypatch):
    path = parquet('numbers', labels=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], classes=None)
    with pytest.raises(UserError, match='no classes. Set metainfo'):
        build('ParquetDataset', path=path)
    with pytest.raises(UserError, match='no class: 3, 4, 5.* from 0 to 2'):
        build('ParquetDataset', path=path, metainfo=dict(classes=CLASSES))
    with pytest.raises(UserError, match='has no column target, but image, label'):
        build('ParquetDataset', path=path, label_key='target')
    with pytest.raises(UserError, match='split none'):
        build('ParquetDataset', path=path, split='none')
    monkeypatch.setitem(sys.modules, 'datasets', None)
    with pytest.raises(UserError, match=r"pip install 'mmtrtvit\[parquet\]'"):
        build('ParquetDataset', path=path)


def test_classes_are_needed(root):
    with pytest.raises(UserError, match='TarDataset: no classes. Set metainfo'):
        build('TarDataset', files=str(root / 'tars'))


def test_a_damaged_image_in_a_tar_is_named(root, tmp_path):
    (tmp_path / 'disc').mkdir()
    (tmp_path / 'disc/1.png').write_bytes(b'nothing')
    with tarfile.open(tmp_path / 'x.tar', 'w') as tar:
        tar.add(tmp_path / 'disc/1.png', 'disc/1.png')
    data = build('TarDataset', files=str(tmp_path / 'x.tar'), metainfo=dict(classes=CLASSES))
    with pytest.raises(UserError, match=r'x\.tar/disc/1\.png'):
        data[0]
    assert np.unique(data.get_gt_labels()) == [0]
