"""Pascal VOC data sets: an XML file per image, with boxes.

The ``supervision`` library reads the objects. VOC counts pixels from 1 and names the last one of a
box: from 11 to 20 there is from 10 to 20 in COCO, ten pixels both times. Difficult objects become
crowds, which neither training nor metric count, as in MMDetection's VOCDataset.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import read_text
from ...media import IMAGES
from ..convert import LabelFiles, Size, coco_object
from ..images import find_images
from .xml_files import read_xml

# Names of the splits, the first that is there counts. VOC trains on trainval and measures on test.
SPLIT_NAMES = {
    'train': ('train', 'trainval'),
    'val': ('val', 'valid', 'validation'),
    'test': ('test',),
}
FLAGS = ('-1', '0', '1')  # behind the names in lists of a class


def find_voc(source: str | Path, classes: Sequence[str] | None = None) -> LabelFiles:
    """Finds the images and XML files of a Pascal VOC data set.

    Args:
        source: A folder with ``JPEGImages``, ``Annotations`` and ``ImageSets/Main/<split>.txt``,
            or one with a folder per split that holds images and XML files side by side.
        classes: Names of the classes in their order; None for all that occur, by the alphabet.

    Raises:
        UserError: If there are no images for train or val.
    """
    source = Path(source).absolute()
    if not source.is_dir():
        raise UserError(f'no folder {source}.')
    lists = source / 'ImageSets/Main'
    splits = {}
    for name, aliases in SPLIT_NAMES.items():
        for alias in aliases:
            if (lists / f'{alias}.txt').is_file():
                splits[name] = _listed(source, lists / f'{alias}.txt')
            elif (source / alias).is_dir():
                images = find_images(source / alias)
                splits[name] = [(image, image.with_suffix('.xml')) for image in images]
    missing = [name for name in ('train', 'val') if not splits.get(name)]
    no_images = (
        (
            f'{source} has no images for {" and ".join(missing)}: no ImageSets/Main/'
            f'{missing[0]}.txt that lists them, and no folder {missing[0]} with images and XML '
            'files.'
        )
        if missing
        else ''
    )
    if 'train' in missing:
        raise UserError(no_images)
    files = LabelFiles(source, splits, _read, classes, no_val=no_images)
    if 'val' in missing and splits.get('test') and (lists / 'trainval.txt').is_file():
        splits['val'] = splits.pop('test')
        files.notes['there is no val: the images of test are taken for it'] += 1
    return files


def _listed(source: Path, names: Path) -> list[tuple[Path, Path]]:
    folder = source / 'JPEGImages'
    found = find_images(folder)
    images = {image.stem: image for image in found}
    images |= {image.relative_to(folder).with_suffix('').as_posix(): image for image in found}
    try:
        lines = [line.strip() for line in read_text(names).splitlines()]
    except ValueError as error:
        raise UserError(f'{names} {error}') from error
    keys = [_key(line, images) for line in lines if line]
    return [
        (images.get(key, folder / f'{key}.jpg'), source / 'Annotations' / f'{key}.xml')
        for key in keys
    ]


def _key(line: str, images: Collection[str]) -> str:
    """Returns the name in a line, which may have the suffix of the image, or a flag behind it."""
    name, _, flag = line.rpartition(' ')
    candidates = (line, name.strip()) if flag in FLAGS else (line,)
    for each in candidates:
        path = each.replace('\\', '/').rpartition('JPEGImages/')[2]
        key, suffix = os.path.splitext(path)
        if path in images:
            return path
        if suffix.lower() in (*IMAGES, '.xml') and key in images:
            return key
    return candidates[-1]


def _read(label: Path, size: Size) -> list[dict[str, Any]]:
    from supervision.dataset.formats.pascal_voc import detections_from_xml_obj

    root = read_xml(label)
    given = tuple(int(float(root.findtext(f'size/{side}') or 0)) for side in ('width', 'height'))
    if all(given) and given != size:
        raise ValueError(
            f'made for an image of {given[0]} x {given[1]} pixels, but it has {size[0]} x {size[1]}'
        )
    found, names = detections_from_xml_obj(root, [], size)
    difficult = [int(item.findtext('difficult') or 0) for item in root.findall('object')]
    return [
        coco_object(names[index].strip(), box, size=size, crowd=crowd)
        for index, box, crowd in zip(found.class_id, found.xyxy, difficult)
    ]
