"""What is wrong with images in folders by class, as MMPretrain's data sets number them."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS

from ..annotations.image_labels import class_folders, images_in
from ..errors import did_you_mean, listed
from .parts import leaf_datasets

SHOWN = 20  # names in a message, at most
SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')  # MMPretrain's default


def folder_problems(config: Config, split: str) -> Iterator[str]:
    """Yields what is wrong with the folders of a split's data sets, whose place must exist.

    Args:
        config: The whole config; the package of its scope must have been imported.
        split: train, val or test.
    """
    if config.get('default_scope') != 'mmpretrain':
        return
    for key, dataset in leaf_datasets(config, split):
        kind = _kind(dataset)
        root = _folder(dataset) if kind else None
        if root is not None:
            yield from _problems(key, dataset, root, split, own=kind == 'CustomDataset')


def _kind(dataset: dict) -> str | None:
    """Returns which of the two types that take a folder per class a data set has."""
    with DATASETS.switch_scope_and_registry('mmpretrain') as registry:
        kind = dataset.get('type')
        kind = registry.get(kind) if isinstance(kind, str) else kind
    name = getattr(kind, '__name__', None)
    return name if name in ('CustomDataset', 'ImageNet') else None


def _folder(dataset: dict) -> Path | None:
    """Returns the folder of the class folders; None if a file lists the images, or it is remote."""
    root, split = dataset.get('data_root') or '', dataset.get('split') or ''
    prefix = dataset.get('data_prefix') or split
    prefix = prefix.get('img_path', '') if isinstance(prefix, dict) else prefix
    listed_in = dataset.get('ann_file') or (split and Path(root, 'meta', f'{split}.txt').is_file())
    labelled = dataset.get('with_label', True) and split != 'test'
    return None if '://' in root or listed_in or not labelled else Path(root, prefix).expanduser()


def _problems(key: str, dataset: dict, root: Path, split: str, *, own: bool) -> Iterator[str]:
    if not root.is_dir():
        yield f'{key}: no folder {root.absolute()}, which should hold one folder for each class'
        return
    folders = class_folders(root)
    if not folders:
        yield (
            f'{key}: {root} has no folders. Expected one for each class, with its images in it, '
            'such as cat/1.jpg and dog/1.jpg'
        )
        return
    classes = (dataset.get('metainfo') or {}).get('classes') or ()
    classes = () if isinstance(classes, str) else tuple(classes)
    if own:
        yield from _name_problems(key, root, folders, classes)
    suffixes = tuple(dataset.get('extensions') or SUFFIXES)
    empty = [name for name in folders if next(images_in(root, name, suffixes), None) is None]
    if empty and (split == 'train' or len(empty) == len(folders)):
        yield (
            f'{key}: {root} has no image for: {listed(empty, SHOWN)}. Images end with '
            f'{", ".join(suffixes)}. Add some, or remove the folder and the class'
        )


def _name_problems(
    key: str, root: Path, folders: list[str], classes: tuple[str, ...]
) -> Iterator[str]:
    names = tuple(folders)
    if not classes:
        yield (
            f'{key}: the config names no classes, and {root} has {len(names)} folders. Add '
            f'metainfo = dict(classes={names}) at the top of the config'
        )
    elif {*classes} & {*names} and classes != names:
        lacking = [name for name in classes if name not in names]
        others = [name for name in names if name not in classes]
        if lacking:
            hint = did_you_mean(lacking[0], others)
            yield (
                f'{key}: {root} has no folder for: {listed(lacking, SHOWN)}.{hint} Folders are '
                'numbered by the alphabet, so one that is missing moves the others: a class '
                'without images needs an empty one'
            )
        if others:
            yield (
                f'{key}: {root} has folders that metainfo.classes does not name: '
                f'{listed(others, SHOWN)}'
            )
        if not lacking and not others:
            yield (
                f'{key}: folders are numbered by the alphabet, and metainfo.classes has another '
                f'order, which would swap names. Set metainfo = dict(classes={names})'
            )
    elif len(classes) != len(names):
        yield f'{key}: {root} has {len(names)} folders, but metainfo.classes {len(classes)} names'
