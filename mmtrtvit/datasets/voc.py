"""Pascal VOC data sets: an XML file per image, with boxes.

The ``supervision`` library reads the objects. VOC counts pixels from 1 and names the last one of a
box: from 11 to 20 there is from 10 to 20 in COCO, ten pixels both times. Difficult objects become
crowds, which neither training nor metric count, as in MMDetection's VOCDataset.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..errors import UserError
from .convert import SPLIT_NAMES, LabelFiles, Size, coco_object
from .images import find_images


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
    if missing:
        raise UserError(
            f'{source} has no images for {" and ".join(missing)}: no ImageSets/Main/'
            f'{missing[0]}.txt that lists them, and no folder {missing[0]} with images and XML '
            'files.'
        )
    return LabelFiles(source, splits, _read, classes)


def _listed(source: Path, names: Path) -> list[tuple[Path, Path]]:
    folder = source / 'JPEGImages'
    images = {path.stem: path for path in find_images(folder)}
    keys = [
        line.split()[0] for line in names.read_text(encoding='utf-8').splitlines() if line.strip()
    ]
    return [
        (images.get(key, folder / f'{key}.jpg'), source / 'Annotations' / f'{key}.xml')
        for key in keys
    ]


def _read(label: Path, size: Size) -> list[dict[str, Any]]:
    from supervision.dataset.formats.pascal_voc import detections_from_xml_obj

    try:
        root = ElementTree.parse(label).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f'not an XML file: {error}') from error
    given = tuple(int(float(root.findtext(f'size/{side}') or 0)) for side in ('width', 'height'))
    if all(given) and given != size:
        raise ValueError(
            f'made for an image of {given[0]} x {given[1]} pixels, but it has {size[0]} x {size[1]}'
        )
    found, names = detections_from_xml_obj(root, [], size)
    difficult = [int(item.findtext('difficult') or 0) for item in root.findall('object')]
    return [
        coco_object(names[index], box, size=size, crowd=crowd)
        for index, box, crowd in zip(found.class_id, found.xyxy, difficult)
    ]
