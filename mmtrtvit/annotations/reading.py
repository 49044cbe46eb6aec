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
from .label_maps import read_label_maps
from .voc import read_xml

READERS = {
    'mmdet.datasets.coco.CocoDataset': read_coco_set,
    'mmdet.datasets.xml_style.XMLDataset': read_xml,
    'mmseg.datasets.basesegdataset.BaseSegDataset': read_label_maps,
}


class UnknownFormatError(UserError):
    """A data set of a type that nothing here can read."""


def read_annotations(key: str, config: Mapping, *, scope: str | None, use: Use) -> DataSet:
    """Reads the annotations of one data set, without its images.

    Args:
        key: Where the data set is in the config, for messages.
        config: The data set's own part of the config.
        scope: The config's ``default_scope``; that package's data sets must have been imported.
        use: What the data is for.

    Raises:
        UnknownFormatError: If nothing here reads the annotations of such a data set.
        UserError: If the data set cannot be built or its annotation file cannot be read at all.
    """
    try:
        with DATASETS.switch_scope_and_registry(scope) as registry:
            dataset = registry.build(dict(config, lazy_init=True, pipeline=[]))
    except Exception as error:
        raise UserError(f'{key}: {config.get("type")} does not take it: {error}') from error
    reader = _reader(dataset)
    if reader is None:
        raise UnknownFormatError(
            f'{key}.type is {type(dataset).__name__}. What can be inspected are data sets that are '
            'read like CocoDataset and XMLDataset of mmdet and BaseSegDataset of mmseg.'
        )
    meta = dataset.metainfo
    if not meta.get('classes'):
        raise UserError(f'{key}: no classes. Set metainfo = dict(classes=(...)) in the config.')
    data = DataSet(dataset.ann_file, tuple(meta['classes']), meta.get('palette') or None)
    reader(dataset, data, use)
    return data


def _reader(dataset: Any) -> Callable[[Any, DataSet, Use], None] | None:
    for kind in type(dataset).__mro__:
        if 'load_data_list' in vars(kind):  # this class knows the format of the annotations
            return READERS.get(f'{kind.__module__}.{kind.__name__}')
    return None
