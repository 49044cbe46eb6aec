"""Images of one class each: by folder or in a text, and in files of many.

The first two are listed as MMPretrain's CustomDataset lists them. Of data sets that read tar or
parquet files, each tells its samples itself.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from .data import AnnotatedImage, DataSet, Use
from .problems import Problem


def read_image_labels(dataset: Any, data: DataSet, use: Use) -> None:
    """Adds the images of a CustomDataset of mmpretrain and their classes to ``data``.

    Raises:
        UserError: If the folder or the list of the images cannot be read.
    """
    root = Path(dataset.img_prefix)
    data.source = data.source or str(root)
    for name, label in _samples(dataset, root):
        known = label.isdecimal() and int(label) < len(data.classes)
        _add(data, AnnotatedImage(root / name, name), int(label) if known else None, label)


def read_samples(dataset: Any, data: DataSet, use: Use) -> None:
    """Adds the images of a TarDataset or ParquetDataset and their classes to ``data``.

    Raises:
        UserError: If a file cannot be read, or there is none.
    """
    data.source = dataset.source
    for sample in dataset.samples():
        image = AnnotatedImage(Path(sample.name), sample.name, read=sample.read)
        _add(data, image, sample.number, sample.label)


def _add(data: DataSet, image: AnnotatedImage, number: int | None, label: str) -> None:
    if number is not None:
        image.labels, image.ignored = [number], [False]
    else:
        what = f'label {label!r}' if label else 'no label'
        image.problems.append((Problem.LABEL, f'{what}, of {len(data.classes)} classes'))
    data.images.append(image)


def _samples(dataset: Any, root: Path) -> Iterator[tuple[str, str]]:
    if not dataset.ann_file and not root.is_dir():
        raise UserError(f'no folder {root.absolute()}, which should hold one for each class')
    if not dataset.ann_file:
        for number, folder in enumerate(class_folders(root)):
            names = images_in(root, folder, dataset.extensions)
            yield from ((name, str(number)) for name in names)
        return
    try:
        lines = Path(dataset.ann_file).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{dataset.ann_file} cannot be read: {error}') from error
    for line in filter(None, map(str.strip, lines)):
        name, _, label = line.rpartition(' ')
        yield (name, label) if name else (label, '')


def class_folders(root: Path) -> list[str]:
    """Returns the names of the folders in ``root``, in the order in which they are numbered."""
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir())


def images_in(root: Path, folder: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yields the images in a folder of ``root``, at any depth, as paths below ``root``."""
    for place, folders, files in os.walk(root / folder, followlinks=True):
        folders.sort()
        for name in sorted(files):
            if name[0] != '.' and name.lower().endswith(suffixes):
                yield Path(place, name).relative_to(root).as_posix()
