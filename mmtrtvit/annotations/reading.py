"""Annotations of a data set of a config, read without its image files.

MMDetection silently leaves out what it cannot use. Here every entry of the annotation files is
checked.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mmengine.registry import DATASETS

from ..errors import UserError
from .coco import read_coco_set
from .data import DataSet, Use
from .image_labels import read_image_labels, read_samples
from .label_maps import read_label_maps
from .voc import read_xml

READERS = {
    'mmdet.datasets.coco.CocoDataset': read_coco_set,
    'mmdet.datasets.xml_style.XMLDataset': read_xml,
    'mmpretrain.datasets.custom.CustomDataset': read_image_labels,
    'mmtrtvit.classification.readers.ParquetDataset': read_samples,
    'mmtrtvit.classification.readers.TarDataset': read_samples,
    'mmseg.datasets.basesegdataset.BaseSegDataset': read_label_maps,
}


class NotReadError(UserError):
    """A data set that cannot be built, or of a type that nothing here reads."""


def read_annotations(key: str, config: Mapping, *, scope: str | None, use: Use) -> DataSet:
    """Reads the annotations of one data set, without its images.

    Args:
        key: Where the data set is in the config, for messages.
        config: The data set's own part of the config.
        scope: The config's ``default_scope``; that package's data sets must have been imported.
        use: What the data is for.

    Raises:
        NotReadError: If the data set cannot be built, or nothing here reads its annotations.
        UserError: If its annotation file cannot be read at all.
    """
    with DATASETS.switch_scope_and_registry(scope) as registry:
        kind = config.get('type')
        kind = registry.get(kind) if isinstance(kind, str) else kind
        if kind is None:
            raise NotReadError(f'{key}: {config.get("type")} does not take it: no such type.')
        reader = _reader(kind)
        if reader is None:
            raise NotReadError(
                f'{key}.type is {getattr(kind, "__name__", config.get("type"))}. What can be '
                'inspected are data sets that are read like CocoDataset and XMLDataset of mmdet, '
                'BaseSegDataset of mmseg and CustomDataset of mmpretrain, and TarDataset and '
                'ParquetDataset of mmtrtvit.'
            )
        try:
            dataset = registry.build(dict(config, lazy_init=True, pipeline=[]))
        except Exception as error:
            raise NotReadError(f'{key}: {config.get("type")} does not take it: {error}') from error
    meta = dataset.metainfo
    if not meta.get('classes'):
        raise UserError(f'{key}: no classes. Set metainfo = dict(classes=(...)) in the config.')
    data = DataSet(dataset.ann_file, tuple(meta['classes']), meta.get('palette') or None)
    reader(dataset, data, use)
    return data


def _reader(kind: Any) -> Callable[[Any, DataSet, Use], None] | None:
    for parent in getattr(kind, '__mro__', ()):
        if 'load_data_list' in vars(parent):  # this class knows the format of the annotations
            return READERS.get(f'{parent.__module__}.{parent.__name__}')
    return None
