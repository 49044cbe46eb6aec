"""Images of one class each, as MMPretrain's CustomDataset lists them: by folder or in a text."""

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
        image = AnnotatedImage(root / name, name)
        if label.isdecimal() and int(label) < len(data.classes):
            image.labels, image.ignored = [int(label)], [False]
        else:
            what = f'label {label!r}' if label else 'no label'
            image.problems.append((Problem.LABEL, f'{what}, of {len(data.classes)} classes'))
        data.images.append(image)


def _samples(dataset: Any, root: Path) -> Iterator[tuple[str, str]]:
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
