"""Listing of images and label maps, as MMSegmentation's BaseSegDataset lists them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..media import IMAGES
from .data import AnnotatedImage, DataSet, Use
from .problems import Problem


def read_label_maps(dataset: Any, data: DataSet, use: Use) -> None:
    """Adds the images of a BaseSegDataset of mmseg and their label maps to ``data``.

    Raises:
        UserError: If the folder or list of the images cannot be read.
    """
    try:
        entries = dataset.load_data_list()
    except (OSError, AssertionError, UnicodeDecodeError) as error:
        raise UserError(f'{dataset.ann_file or ""} {error}'.strip()) from error
    folder = Path(dataset.data_prefix.get('img_path') or '')
    for entry in entries:
        path, label_map = Path(entry['img_path']), entry.get('seg_map_path')
        name = path.relative_to(folder) if path.is_relative_to(folder) else path
        image = AnnotatedImage(
            path, name.as_posix(), label_map=Path(label_map) if label_map else None
        )
        if any(part.startswith('.') for part in name.parts):
            image.problems.append((Problem.HIDDEN, ''))
        data.images.append(image)
    data.problems += [(Problem.OTHER_SUFFIX, place) for place in _passed_over(dataset, folder)]
    data.source = data.source or f'{folder}/*{dataset.img_suffix}'
    labels: np.ndarray = np.arange(256)
    if dataset.reduce_zero_label:
        labels = np.where(np.isin(labels, (0, 255)), 255, labels - 1)
    new_labels = dataset.label_map or {}  # where the config names some of the known classes
    data.labels_of_values = np.array([new_labels.get(label, label) for label in labels.tolist()])
    data.ignored_label = dataset.ignore_index


def _passed_over(dataset: Any, folder: Path) -> Iterator[str]:
    """Yields the images of a folder that have a label map, but not the suffix of the data set."""
    maps = dataset.data_prefix.get('seg_map_path')
    if os.path.isfile(dataset.ann_file or '') or not maps or not folder.is_dir():
        return
    for path in sorted(folder.rglob('*')):
        name = path.relative_to(folder)
        if (
            path.suffix.lower() in IMAGES
            and not path.name.endswith(dataset.img_suffix)
            and not any(part.startswith('.') for part in name.parts)
            and Path(maps, name.with_suffix(''))
            .with_name(path.stem + dataset.seg_map_suffix)
            .is_file()
        ):
            yield f'{name.as_posix()} (read are *{dataset.img_suffix})'
