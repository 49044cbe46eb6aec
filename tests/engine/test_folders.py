"""What a training says of images in folders by class that it cannot learn from."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmtrtvit.engine.checks import check_data
from mmtrtvit.engine.classes import spread_metainfo
from mmtrtvit.engine.data import check_annotations
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.errors import UserError

pytest.importorskip('mmpretrain')

CLASSES = ('cat', 'dog')


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two folders with two images each, for training and for validation."""
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        for name in CLASSES:
            folder = Path('data', split, name)
            folder.mkdir(parents=True)
            for index in range(2):
                cv2.imwrite(str(folder / f'{index}.png'), np.full((40, 40, 3), index, np.uint8))
    return Path('data')


def check(classes=CLASSES, **changes):
    import_host('mmpretrain')

    def loader(split):
        return dict(
            dataset=dict(
                type='CustomDataset',
                **{'data_root': 'data', 'data_prefix': split, **changes.get(split, {})},
            )
        )

    config = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(num_classes=changes.get('num_classes', 2))),
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
        )
    )
    if classes:
        config.metainfo = dict(classes=classes)
        if 'num_classes' not in changes:
            spread_metainfo(config)
        else:
            for split in ('train', 'val'):
                config[f'{split}_dataloader'].dataset.metainfo = dict(classes=classes)
    check_data(config)
    check_annotations(config, ('train', 'val'))


def refused(*parts, **options):
    with pytest.raises(UserError) as error:
        check(**options)
    for part in parts:
        assert part in str(error.value)


def test_sound_folders(data):
    check()
    check(classes=('Cats', 'Dogs'))  # names for people, in the order of the folders


def test_no_classes_named(data):
    refused("data/train has 2 folders. Add metainfo = dict(classes=('cat', 'dog'))", classes=None)


def test_no_folders(data):
    for folder in Path('data/train').iterdir():
        for image in folder.iterdir():
            image.rename(Path('data/train', f'{folder.name}{image.name}'))
        folder.rmdir()
    refused('train_dataloader.dataset: data/train has no folders. Expected one for each class')


def test_no_place(data):
    refused('no folder', 'data/train2', train=dict(data_prefix='train2'))


def test_a_class_without_images(data):
    for image in Path('data/train/dog').iterdir():
        image.rename(image.with_suffix('.gif'))
    refused('data/train has no image for: dog', 'Images end with .jpg')


def test_a_folder_that_is_missing_moves_the_others(data):
    Path('data/val/cat').rename('data/val/cta')
    refused(
        'val_dataloader.dataset: data/val has no folder for: cat.',
        'Did you mean cta?',
        'does not name: cta',
    )
    Path('data/val/cta').rename('data/val/cat')
    Path('data/val/.checkpoints').mkdir()
    refused('folders that metainfo.classes does not name: .checkpoints')


def test_another_order(data):
    refused(
        "another order, which would swap names. Set metainfo = dict(classes=('cat', 'dog'))",
        classes=('dog', 'cat'),
    )
    refused('data/train has 2 folders, but metainfo.classes 3 names', classes=('a', 'b', 'c'))


def test_a_head_of_another_size(data):
    refused('model.head.num_classes is 5', 'has 2 classes: cat, dog', num_classes=5)


@pytest.mark.parametrize(
    'line, part',
    [
        ('cat/0.png 2', "cat/0.png (label '2', of 2 classes)"),
        ('cat/0.png', 'cat/0.png (no label, of 2 classes)'),
        ('cat/0.png one', "label 'one'"),
    ],
)
def test_labels_of_a_list(data, line, part):
    Path('data/train.txt').write_text(f'cat/1.png 0\n\n{line}\ndog/0.png 1\n')
    refused(
        'train: image without a label that stands for a class (1)',
        part,
        train=dict(ann_file='train.txt', data_prefix='train'),
    )


def test_a_list_that_is_no_text(data):
    Path('data/train.txt').write_bytes(b'\xff\xfe\x00')
    refused('train.txt cannot be read', train=dict(ann_file='train.txt'))
