"""Exports of CVAT in its own format, "CVAT for images 1.1": an XML file for all images."""

import math
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ...errors import UserError
from ..convert import SPLIT_NAMES, LabelFiles, Size, coco_object
from ..images import by_tail, find_images
from .polygons import corners, ellipse
from .xml_files import read_xml

NO_OBJECTS = {'tag', 'attribute'}


def find_cvat(source: str | Path) -> LabelFiles:
    """Finds the images of an export of CVAT.

    Args:
        source: ``annotations.xml``, or its folder. The images lie anywhere in that folder.

    Raises:
        UserError: If there is no such file, it is of another kind, or lists an image that is not
            there.
    """
    source = Path(source).absolute()
    file = source / 'annotations.xml' if source.is_dir() else source
    if not file.is_file():
        raise UserError(f'there is no {file}, which CVAT exports as "CVAT for images 1.1".')
    try:
        root = read_xml(file)
    except ValueError as error:
        raise UserError(f'{file} {error}') from error
    if root.find('track') is not None:
        raise UserError(
            f'{file} has the tracks of a video. Export the task as "CVAT for images 1.1" with '
            'its images.'
        )
    entries = root.findall('image')
    if not entries:
        raise UserError(f'{file} has no image: it is no export of "CVAT for images 1.1".')
    find = by_tail(find_images(file.parent))
    splits: dict[str, list[tuple[Path, Element]]] = {}
    missing = []
    for entry in entries:
        name = entry.get('name', '')
        image = find(name)
        if image is None:
            missing.append(name)
        else:
            splits.setdefault(_split(entry.get('subset') or 'train'), []).append((image, entry))
    if missing:
        raise UserError(
            f'{file}: {len(missing)} of {len(entries)} images are not below {file.parent}, or more '
            f'than once, such as {missing[0]}. Export with "Save images".'
        )
    if 'train' not in splits:
        raise UserError(f'{file} has no images for train, but for {", ".join(splits)}.')
    notes: Counter[str] = Counter()
    return LabelFiles(
        file.parent,
        splits,
        partial(_read, notes),
        no_val=f'{file} has no images for val.',
        notes=notes,
    )


def _split(subset: str) -> str:
    """Returns our name of a subset; those of other names belong to train."""
    found = (name for name, aliases in SPLIT_NAMES.items() if subset.lower() in aliases)
    return next(found, 'train')


def _read(notes: Counter[str], entry: Element, size: Size) -> list[dict[str, Any]]:
    given = (int(entry.get('width', 0)), int(entry.get('height', 0)))
    if given != size:
        raise ValueError(
            f'annotated with {given[0]} x {given[1]} pixels, but it has {size[0]} x {size[1]}'
        )
    objects = []
    for shape in entry:
        if shape.tag in _SHAPES:
            try:
                found = _SHAPES[shape.tag](shape, size)
            except (AttributeError, OverflowError, TypeError, ValueError) as error:
                raise ValueError(f'a {shape.tag} that cannot be read: {error}') from error
            objects.append(coco_object(shape.get('label', '').strip(), size=size, **found))
        elif shape.tag not in NO_OBJECTS:
            notes[f'{shape.tag} is left out: it is neither a box nor a mask'] += 1
    return objects


def _numbers(shape: Element, names: Iterable[str]) -> list[float]:
    return [float(shape.get(name)) for name in names]


def _box(shape: Element, size: Size) -> dict[str, Any]:
    left, top, right, bottom = _numbers(shape, ('xtl', 'ytl', 'xbr', 'ybr'))
    angle = float(shape.get('rotation', 0))
    if not angle:
        return dict(box=np.array([left, top, right, bottom]))
    center = (left + right) / 2, (top + bottom) / 2
    return dict(polygons=[corners(center, (right - left, bottom - top), angle)])


def _polygon(shape: Element, size: Size) -> dict[str, Any]:
    points = [point.split(',') for point in shape.get('points').split(';')]
    return dict(polygons=[np.array(points, float).reshape(-1, 2)])


def _ellipse(shape: Element, size: Size) -> dict[str, Any]:
    x, y, *radii = _numbers(shape, ('cx', 'cy', 'rx', 'ry'))
    return dict(polygons=[ellipse((x, y), radii, float(shape.get('rotation', 0)))])


def _mask(shape: Element, size: Size) -> dict[str, Any]:
    """Decodes runs of 0 and 1 by turns, row by row in a box."""
    left, top, width, height = map(int, _numbers(shape, ('left', 'top', 'width', 'height')))
    counts = [int(count) for count in shape.get('rle').split(',')]
    inside = 0 <= left <= left + width <= size[0] and 0 <= top <= top + height <= size[1]
    if not inside or min(counts) < 0 or sum(counts) != math.prod((width, height)):
        raise ValueError('its runs do not fill its box, or that is not in the image')
    mask = np.zeros(size[::-1], np.uint8)
    values = np.arange(len(counts)) % 2
    mask[top : top + height, left : left + width] = np.repeat(values, counts).reshape(height, width)
    return dict(mask=mask)


_SHAPES = {'box': _box, 'polygon': _polygon, 'ellipse': _ellipse, 'mask': _mask}
