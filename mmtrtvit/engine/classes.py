"""The classes of a config, set once: its top-level ``metainfo``."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import UserError
from .parts import class_counts, leaf_datasets


def spread_metainfo(config: Config) -> None:
    """Writes ``config.metainfo`` into every data set, and its number of classes into every head.

    Args:
        config: Changed in place; left as it is without a top-level ``metainfo``. With one, what
            single data sets and heads say of classes is overwritten.

    Raises:
        UserError: If ``metainfo`` does not name classes.
    """
    if config.get('metainfo') is None:
        return
    metainfo = config.metainfo
    classes = _names(metainfo.get('classes') if isinstance(metainfo, dict) else None)
    for split in ('train', 'val', 'test'):
        for _, dataset in leaf_datasets(config, split):
            dataset['metainfo'] = dict(metainfo, classes=classes)
    heads = dict.fromkeys((key for key, _ in class_counts(config.get('model'))), len(classes))
    config.merge_from_dict(heads)


def _names(classes: Any) -> tuple[str, ...]:
    if isinstance(classes, str) and Path(classes).is_file():  # as MMEngine's data sets take it
        classes = Path(classes).read_text(encoding='utf-8').split('\n')
        classes = [name for name in classes if name]
    if (
        not isinstance(classes, list | tuple)
        or not classes
        or not all(isinstance(name, str) and name for name in classes)
    ):
        raise UserError(
            f'metainfo.classes is {classes!r}. It should be a tuple of names, e.g. metainfo='
            "dict(classes=('cat', 'dog')), one of a single name with its comma: ('cat',)"
        )
    twice = sorted({name for name in classes if list(classes).count(name) > 1})
    if twice:
        raise UserError(f'metainfo.classes names {", ".join(twice)} more than once.')
    return tuple(classes)
