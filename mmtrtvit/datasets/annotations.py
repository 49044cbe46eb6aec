"""Annotations of a data set: reading them, and finding what is wrong with them.

MMDetection silently leaves out what it cannot use. Here every entry of the annotation files is
checked. The image files are not opened.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from ..errors import UserError
from .problems import Problem

Problems = list[tuple[Problem, str]]
Box = tuple[float, float, float, float]
BORDER_TOLERANCE = 1  # pixels: boxes of many tools end at a rounded or 1-based border
NUMBER = int | float
KEY = int | str


@dataclass(eq=False, slots=True)
class AnnotatedImage:
    """An image with its annotations.

    Attributes:
        path: The image file.
        name: Its path as the annotations have it.
        size: Width and height in pixels as the annotations have them, None if they do not.
        boxes: (left, top, right, bottom) in pixels of each instance that a training sees.
        labels: Index of the class of each instance.
        masks: Polygons or RLE of each instance, as COCO has them; None for a box alone.
        label_map: File with the class of each pixel, in semantic segmentation.
        problems: What is wrong with the image, and which part of it where it has parts.
    """

    path: Path
    name: str
    size: tuple[int, int] | None = None
    boxes: list[Box] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    masks: list[Any] = field(default_factory=list)
    label_map: Path | None = None
    problems: Problems = field(default_factory=list)


@dataclass(eq=False)
class DataSet:
    """A data set of a config.

    Attributes:
        source: The annotation file, or the pattern of the image files.
        classes: Names of the classes.
        palette: A colour (red, green, blue) per class, or None.
        images: All images, those without annotations too.
        problems: What is wrong beyond single images, and where.
        labels_of_values: For label maps, the class index of each value 0 to 255 of a file: (256,).
        ignored_label: The class index that a training leaves out.
        counts: Instances, or pixels of label maps, by class index.
        contents: Digest of the bytes of each image file, and the image's name.
    """

    source: str
    classes: tuple[str, ...]
    palette: list | None
    images: list[AnnotatedImage] = field(default_factory=list)
    problems: Problems = field(default_factory=list)
    labels_of_values: np.ndarray | None = None
    ignored_label: int = 255
    counts: Counter = field(default_factory=Counter)
    contents: dict[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Use:
    """What a split does with its data: whether it loads masks, and whether it evaluates on it."""

    masks: bool = False
    evaluation: bool = False


def read_annotations(key: str, config: Mapping, *, scope: str | None, use: Use) -> DataSet:
    """Reads the annotations of one data set, without its images.

    Args:
        key: Where the data set is in the config, for messages.
        config: The data set's own part of the config.
        scope: The config's ``default_scope``; that package's data sets must have been imported.
        use: What the data is for.

    Raises:
        UserError: If the data set cannot be built or its annotation file cannot be read at all.
    """
    try:
        with DATASETS.switch_scope_and_registry(scope) as registry:
            dataset = registry.build(dict(config, lazy_init=True, pipeline=[]))
    except Exception as error:
        raise UserError(f'{key}: {config.get("type")} does not take it: {error}') from error
    reader = _reader(dataset)
    if reader is None:
        raise UserError(
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
    readers = {
        'mmdet.datasets.coco.CocoDataset': _read_coco,
        'mmdet.datasets.xml_style.XMLDataset': _read_xml,
        'mmseg.datasets.basesegdataset.BaseSegDataset': _read_label_maps,
    }
    for kind in type(dataset).__mro__:
        if 'load_data_list' in vars(kind):  # this class knows the format of the annotations
            return readers.get(f'{kind.__module__}.{kind.__name__}')
    return None


def _read_coco(dataset: Any, data: DataSet, use: Use) -> None:
    content = _load_coco(Path(dataset.ann_file))
    categories = _by_id('category', content['categories'], dict(id=KEY, name=str), data.problems)
    names = Counter(category['name'] for category in categories.values())
    data.problems += [
        (Problem.DUPLICATE_ID, f'category name {name}')
        for name, count in names.items()
        if count > 1
    ]
    entries = _by_id(
        'image',
        content['images'],
        dict(id=KEY, file_name=str, width=NUMBER, height=NUMBER),
        data.problems,
    )
    folder = Path(dataset.data_prefix.get('img') or '')
    images = {
        key: AnnotatedImage(
            folder / entry['file_name'], entry['file_name'], (entry['width'], entry['height'])
        )
        for key, entry in entries.items()
    }
    data.images += images.values()
    ids = set()
    for annotation in content['annotations']:
        key, image_id = annotation.get('id'), annotation.get('image_id')
        image = images.get(image_id)
        place = f'annotation {key}' if image else f'annotation {key}, image id {image_id}'
        problems = image.problems if image else data.problems
        if key in ids:
            problems.append((Problem.DUPLICATE_ID, place))
        ids.add(key)
        problems += [
            (problem, place + detail)
            for problem, detail in _coco_problems(annotation, image, categories, data, use)
        ]


def _load_coco(file: Path) -> dict[str, list[dict]]:
    try:
        with open(file, encoding='utf-8') as stream:
            content = json.load(stream)
    except OSError as error:
        raise UserError(f'{file} cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise UserError(f'{file} is not a JSON file: {error}') from error
    if isinstance(content, dict):
        content.setdefault('annotations', [])  # lists of test images have none
    for key in ('images', 'annotations', 'categories'):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f'{file} is not in COCO format: it has no list of {key}.')
    return content


def _by_id(kind: str, entries: list[dict], keys: dict[str, Any], problems: Problems) -> dict:
    """Returns the entries by their id, without those that lack a key of its type."""
    found = {}
    for number, entry in enumerate(entries):
        lacking = [key for key, types in keys.items() if not isinstance(entry.get(key), types)]
        if lacking:
            name = entry.get('file_name') or entry.get('name') or f'number {number}'
            problems.append((Problem.INCOMPLETE, f'{kind} {name}: {", ".join(lacking)}'))
        elif entry['id'] in found:
            problems.append((Problem.DUPLICATE_ID, f'{kind} id {entry["id"]}'))
        else:
            found[entry['id']] = entry
    return found


def _coco_problems(
    annotation: dict,
    image: AnnotatedImage | None,
    categories: dict,
    data: DataSet,
    use: Use,
) -> Iterator[tuple[Problem, str]]:
    """Yields what is wrong with an annotation, and adds it to its image if it can be used."""
    lacking = _lacking(annotation, use)
    category = annotation.get('category_id')
    if annotation.get('id') == 0 and use.evaluation:
        yield Problem.ID_ZERO, ''
    if lacking:
        yield Problem.INCOMPLETE, f': {", ".join(lacking)}'
    elif image is None:
        yield Problem.UNKNOWN_IMAGE, ''
    elif category not in categories:
        yield Problem.UNKNOWN_CATEGORY, f': {category}'
    elif categories[category]['name'] not in data.classes:
        yield Problem.OTHER_CATEGORY, f': {categories[category]["name"]}'
    elif not annotation.get('ignore'):
        left, top, width, height = annotation['bbox']
        box = left, top, left + width, top + height
        if annotation['area'] <= 0 or not _has_area(box, image.size):
            yield Problem.LOST_BOX, ''
            return
        if _crosses_border(box, image.size):
            yield Problem.BORDER, ''
        mask = annotation.get('segmentation') or None
        if use.masks:
            yield from _mask_problems(mask, image.size)
        image.boxes.append(box)
        image.labels.append(data.classes.index(categories[category]['name']))
        image.masks.append(mask)


def _lacking(annotation: dict, use: Use) -> list[str]:
    keys = ['id', 'image_id', 'category_id', 'area']
    if use.evaluation:
        keys.append('iscrowd')
    lacking = [key for key in keys if annotation.get(key) is None]
    box = annotation.get('bbox')
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(value, NUMBER) and math.isfinite(value) for value in box)
    ):
        lacking.append('bbox of 4 numbers')
    return lacking


def _has_area(box: Box, size: tuple[float, float]) -> bool:
    left, top, right, bottom = box
    width, height = size
    return (
        min(right - left, bottom - top) >= 1
        and min(right, width) > max(left, 0)
        and min(bottom, height) > max(top, 0)
    )


def _crosses_border(box: Box, size: tuple[float, float]) -> bool:
    left, top, right, bottom = box
    width, height = size
    return max(-left, -top, right - width, bottom - height) > BORDER_TOLERANCE


def _mask_problems(mask: Any, size: tuple[int, int]) -> Iterator[tuple[Problem, str]]:
    if not mask:
        yield Problem.MISSING_MASK, ''
    elif isinstance(mask, dict):
        if not mask.get('counts') or not mask.get('size'):
            yield Problem.BROKEN_MASK, ''
        elif list(mask['size']) != [size[1], size[0]]:
            yield Problem.MASK_SIZE, f': {mask["size"][1]} x {mask["size"][0]}'
    elif not all(isinstance(polygon, list) for polygon in mask):
        yield Problem.INCOMPLETE, ': segmentation is not a list of polygons'
    elif not any(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in mask):
        yield Problem.BROKEN_MASK, ''


def _read_xml(dataset: Any, data: DataSet, use: Use) -> None:
    root = Path(dataset.sub_data_root)
    for key in list_from_file(dataset.ann_file):
        name = f'{dataset.img_subdir}/{key}.jpg'
        image = AnnotatedImage(root / name, name)
        data.images.append(image)
        file = root / dataset.ann_subdir / f'{key}.xml'
        try:
            _read_xml_file(file, image, data.classes)
        except (OSError, ElementTree.ParseError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            image.problems.append((Problem.MISSING_XML, f'{file.name}: {reason}'))
        except (AttributeError, TypeError, ValueError):
            image.problems.append((Problem.INCOMPLETE, f'name, bndbox or size in {file.name}'))


def _read_xml_file(file: Path, image: AnnotatedImage, classes: tuple[str, ...]) -> None:
    annotation = ElementTree.parse(file).getroot()
    size = annotation.find('size')
    if size is not None:
        image.size = int(size.find('width').text), int(size.find('height').text)
    limits = image.size or (math.inf, math.inf)
    for number, item in enumerate(annotation.findall('object'), 1):
        name, corners = item.find('name').text, item.find('bndbox')
        left, top, right, bottom = (  # as MMDetection reads them
            int(float(corners.find(tag).text)) - 1 for tag in ('xmin', 'ymin', 'xmax', 'ymax')
        )
        box = left, top, right, bottom
        place = f'object {number}'
        if name not in classes:
            image.problems.append((Problem.OTHER_CATEGORY, f'{place}: {name}'))
        elif not _has_area(box, limits):
            image.problems.append((Problem.VOID_BOX, place))
        else:
            if _crosses_border(box, limits):
                image.problems.append((Problem.BORDER, place))
            image.boxes.append(box)
            image.labels.append(classes.index(name))
            image.masks.append(None)


def _read_label_maps(dataset: Any, data: DataSet, use: Use) -> None:
    try:
        entries = dataset.load_data_list()
    except (OSError, AssertionError) as error:
        raise UserError(str(error)) from error
    folder = Path(dataset.data_prefix.get('img_path') or '')
    for entry in entries:
        path, label_map = Path(entry['img_path']), entry.get('seg_map_path')
        name = path.relative_to(folder) if path.is_relative_to(folder) else path
        data.images.append(
            AnnotatedImage(path, name.as_posix(), label_map=Path(label_map) if label_map else None)
        )
    data.source = data.source or f'{folder}/*{dataset.img_suffix}'
    labels: np.ndarray = np.arange(256)
    if dataset.reduce_zero_label:
        labels = np.where(np.isin(labels, (0, 255)), 255, labels - 1)
    new_labels = dataset.label_map or {}  # where the config names some of the known classes
    data.labels_of_values = np.array([new_labels.get(label, label) for label in labels.tolist()])
    data.ignored_label = dataset.ignore_index
