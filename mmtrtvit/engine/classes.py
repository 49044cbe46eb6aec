"""The classes of a config, set once: its top-level ``metainfo``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import UserError
from .parts import class_counts, leaf_datasets, metrics

# Types of MMDetection, as configs name them, and ours that find classes by name.
BY_NAME = {
    'CocoDataset': 'CocoDatasetByName',
    'mmdet.CocoDataset': 'mmdet.CocoDatasetByName',
    'mmdet.datasets.CocoDataset': 'mmdet.CocoDatasetByName',
    'mmdet.datasets.coco.CocoDataset': 'mmdet.CocoDatasetByName',
    'CocoMetric': 'CocoMetricByName',
    'mmdet.CocoMetric': 'mmdet.CocoMetricByName',
    'mmdet.evaluation.CocoMetric': 'mmdet.CocoMetricByName',
    'mmdet.evaluation.metrics.CocoMetric': 'mmdet.CocoMetricByName',
    'mmdet.evaluation.metrics.coco_metric.CocoMetric': 'mmdet.CocoMetricByName',
}


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


def map_by_name(config: Config) -> None:
    """Lets the data sets and metrics of COCO files find classes by name.

    MMDetection's own number them as ``categories`` of each file does, see
    :mod:`mmtrtvit.annotations.by_name`.

    Args:
        config: Changed in place.
    """
    if config.get('default_scope') != 'mmdet':
        return
    for split in ('train', 'val', 'test'):
        for part in _parts(config, split):
            part['type'] = BY_NAME.get(_type_name(part.get('type')), part.get('type'))


def _parts(config: Config, split: str) -> Iterator[dict]:
    yield from (dataset for _, dataset in leaf_datasets(config, split) if 'type' in dataset)
    yield from (metric for _, metric in metrics(config, split) if 'type' in metric)


def _type_name(kind: Any) -> str | None:
    return f'{kind.__module__}.{kind.__name__}' if isinstance(kind, type) else kind


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
