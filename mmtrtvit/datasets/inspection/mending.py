"""Corrected copies of the annotation files of a config."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ...annotations.mending import mend_coco
from ...engine.parts import leaf_datasets, metrics
from ...errors import UserError

SPLITS = ('train', 'val', 'test')


@dataclass
class Mended:
    """A corrected copy of an annotation file.

    Attributes:
        file: The original.
        copy: The copy.
        done: How often each correction was made, by what it is.
        keys: Where the config names the original.
    """

    file: Path
    copy: Path
    done: Counter[str]
    keys: list[str]


def mend_data(config: Config, out: str | Path) -> list[Mended]:
    """Writes corrected copies of a config's annotation files in COCO format into a folder.

    Args:
        config: The config, as :func:`~mmtrtvit.engine.read_config` returns it.
        out: The folder; made if need be.

    Raises:
        UserError: If there is no such file, or a copy would replace an original.
    """
    named: dict[Path, list[str]] = {}
    folders: dict[Path, Path] = {}
    for key, file, folder in _files(config):
        named.setdefault(file, []).append(key)
        folders.setdefault(file, folder)
    if not folders:
        raise UserError('--fix: the config names no annotation file in COCO format.')
    root = os.path.commonpath([file.parent for file in folders])
    return [
        Mended(
            file,
            copy := Path(out, file.relative_to(root)),
            mend_coco(file, copy, images=folder),
            named[file],
        )
        for file, folder in folders.items()
    ]


def _files(config: Config) -> Iterator[tuple[str, Path, Path]]:
    """Yields the key, file and folder of images of each annotation file; metrics have the last."""
    folders = {}
    for split in SPLITS:
        for key, dataset in leaf_datasets(config, split):
            root = dataset.get('data_root') or ''
            file = Path(root, dataset.get('ann_file') or '').absolute()
            if file.suffix == '.json' and file.is_file():
                prefix = dataset.get('data_prefix') or {}
                prefix = prefix if isinstance(prefix, str) else prefix.get('img') or ''
                folders[file] = Path(root, prefix)
                yield f'{key}.ann_file', file, folders[file]
    for split in SPLITS:
        for key, metric in metrics(config, split):
            file = Path(metric.get('ann_file') or '').absolute()
            if file in folders:
                yield f'{key}.ann_file', file, folders[file]


def format_mended(mended: list[Mended]) -> Iterator[str]:
    """Yields lines: each copy with what was mended in it, and the options that use the copies."""
    for each in mended:
        yield f'{each.copy} (of {each.file})'
        yield from (f'    {text} ({count})' for text, count in each.done.items())
        if not each.done:
            yield '    nothing to mend'
    options = ' '.join(f'{key}={each.copy.absolute()}' for each in mended for key in each.keys)
    yield f'use them with: --cfg-options {options}'
