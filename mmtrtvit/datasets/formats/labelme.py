"""Folders of labelme: a JSON file per image, with polygons, boxes, circles and masks."""

import base64
import io
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import UserError
from ...files import read_json
from ...media import IMAGES
from ..convert import SPLIT_NAMES, LabelFiles, Size, coco_object
from ..images import by_tail, find_images, is_hidden
from .polygons import ellipse


def find_labelme(source: str | Path) -> LabelFiles:
    """Finds the images and JSON files of a folder of labelme.

    Args:
        source: The folder. What lies in its folders train, val and test belongs to these splits,
            all else to train.

    Raises:
        UserError: If there are no such files, or one is of another kind.
    """
    source = Path(source).absolute()
    if not source.is_dir():
        raise UserError(f'no folder {source}.')
    labels = sorted(
        path for path in source.rglob('*.json') if not is_hidden(path.relative_to(source))
    )
    find = by_tail(find_images(source))
    splits: dict[str, list[tuple[Path, Path]]] = {}
    for label in labels:
        image = _image(label, find)
        splits.setdefault(_split(label.relative_to(source)), []).append((image, label))
    if 'train' not in splits:
        raise UserError(f'{source} has no JSON files of labelme for train.')
    notes: Counter[str] = Counter()
    return LabelFiles(
        source,
        splits,
        partial(_read, notes),
        no_val=f'{source} has no folder val, so there are no images for val.',
        notes=notes,
    )


def _split(path: Path) -> str:
    for name, aliases in SPLIT_NAMES.items():
        if path.parts[0].lower() in aliases and len(path.parts) > 1:
            return name
    return 'train'


def _load(label: Path) -> dict[str, Any]:
    """Raises ValueError if it is no file of labelme."""
    content = read_json(label)
    if not isinstance(content, dict) or not isinstance(content.get('shapes'), list):
        raise ValueError('is no file of labelme: it has no list of shapes')
    return content


def _image(label: Path, find: Any) -> Path:
    """Returns the image of a file: by the path in it, or else of its own name beside it."""
    try:
        name = str(_load(label).get('imagePath') or '').replace('\\', '/')
    except ValueError as error:
        raise UserError(f'{label} {error}') from error
    beside = [label.with_suffix(suffix) for suffix in IMAGES if label.with_suffix(suffix).is_file()]
    if name and (label.parent / name).is_file():
        return label.parent / name
    return beside[0] if len(beside) == 1 else find(name) or label.parent / name


def _read(notes: Counter[str], label: Path, size: Size) -> list[dict[str, Any]]:
    content = _load(label)
    given = (content.get('imageWidth') or size[0], content.get('imageHeight') or size[1])
    if given != size:
        raise ValueError(
            f'made for an image of {given[0]} x {given[1]} pixels, but it has {size[0]} x {size[1]}'
        )
    groups: dict[Any, list[np.ndarray]] = defaultdict(list)
    objects = []
    for number, shape in enumerate(content['shapes'], 1):
        try:
            name, kind = str(shape['label']).strip(), shape.get('shape_type') or 'polygon'
            points = np.array(shape['points'], float).reshape(-1, 2)
            if kind == 'mask':
                objects.append(coco_object(name, size=size, mask=_mask(shape, points, size)))
            elif kind == 'rectangle':
                box = [*points.min(axis=0), *points.max(axis=0)]
                objects.append(coco_object(name, np.array(box), size=size))
            elif kind == 'circle':
                radius = float(np.linalg.norm(points[1] - points[0]))
                polygon = ellipse(points[0], (radius, radius))
                objects.append(coco_object(name, size=size, polygons=[polygon]))
            elif kind == 'polygon' and len(points) > 2:
                group = shape.get('group_id')
                groups[number if group is None else ('group', group), name].append(points)
            else:
                notes[f'{kind} is left out: it is neither a box nor a mask'] += 1
        except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError) as error:
            raise ValueError(f'shape {number} cannot be read: {error!r}') from error
    return objects + [
        coco_object(name, size=size, polygons=parts) for (_, name), parts in groups.items()
    ]


def _mask(shape: dict[str, Any], points: np.ndarray, size: Size) -> np.ndarray:
    """Returns a mask that the file has as a PNG image with the corner that it starts from."""
    with Image.open(io.BytesIO(base64.b64decode(shape['mask']))) as opened:
        part = np.asarray(opened).astype(bool)
    left, top = points.min(axis=0).round().astype(int)
    height, width = part.shape
    if min(left, top) < 0 or left + width > size[0] or top + height > size[1]:
        raise ValueError('its mask is not in the image')
    mask = np.zeros(size[::-1], np.uint8)
    mask[top : top + height, left : left + width] = part
    return mask
