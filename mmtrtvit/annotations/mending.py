"""Corrected copies of annotation files in COCO format."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import write_whole
from .coco_file import merge_categories, read_coco

Content = dict[str, list[dict]]


def mend_coco(file: str | Path, out: str | Path, *, images: Path) -> Counter[str]:
    """Writes a corrected copy of an annotation file, in UTF-8; the original stays.

    What is mended does not change what the file says: ids of another kind or given twice, values
    in lists, points in lists, corners drawn from the lower right, images listed twice, objects
    given twice, separators of Windows, categories that share a name. Objects that no training can
    use are left out.

    Args:
        file: The annotation file.
        out: The file to write.
        images: The folder that its file names start from.

    Returns:
        How often each correction was made, by what it is.

    Raises:
        UserError: If the file is not in COCO format at all, or would be written over.
    """
    file, out = Path(file), Path(out)
    if out.resolve() == file.resolve():
        raise UserError(f'{out} is the annotation file itself: choose another folder.')
    content = read_coco(file)
    done: Counter[str] = Counter()
    if count := len(merge_categories(content)):
        done['categories of the same name made one'] = count
    for mend in (_values, _images, _annotations):
        for text in mend(content, images):
            done[text] += 1
    write_whole(out, json.dumps(content), sync=True)
    return done


def _values(content: Content, images: Path) -> Iterator[str]:
    """Mends single values, and yields what was done."""
    for entries in content.values():
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict):
                continue
            for key in ('id', 'image_id', 'category_id'):
                value = entry.get(key)
                if _key(value) is not None and type(value) is not int:
                    entry[key] = _key(value)
                    yield f'{key} made a whole number'
    for image in content['images']:
        name = image.get('file_name')
        if isinstance(name, str) and '\\' in name and not (images / name).exists():
            image['file_name'] = name.replace('\\', '/')
            yield 'file_name with / in place of \\'
    for annotation in content['annotations']:
        area = annotation.get('area')
        if isinstance(area, list) and len(area) == 1:
            annotation['area'] = area[0]
            yield 'area taken out of its list'
        if annotation.get('iscrowd') is None or isinstance(annotation['iscrowd'], str | bool):
            annotation['iscrowd'] = int(str(annotation.get('iscrowd')).lower() in ('1', 'true'))
            yield 'iscrowd made 0 or 1'
        yield from _box(annotation)
        yield from _polygons(annotation)


def _key(value: Any) -> int | None:
    """Returns an id as a whole number, None if it is none."""
    if type(value) is int:
        return value
    try:
        return int(value) if isinstance(value, str) or value == int(value) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _box(annotation: dict) -> Iterator[str]:
    box = annotation.get('bbox')
    if not isinstance(box, list) or len(box) != 4 or {*map(type, box)} - {int, float}:
        return
    left, top, width, height = box
    if width < 0 or height < 0:
        annotation['bbox'] = [
            min(left, left + width),
            min(top, top + height),
            abs(width),
            abs(height),
        ]
        yield 'bbox with a width and height that are positive'
    area = annotation.get('area')
    if type(area) not in (int, float) or area != area:
        annotation['area'] = abs(width * height)
        yield 'area of the box, where there was none'


def _polygons(annotation: dict) -> Iterator[str]:
    polygons = annotation.get('segmentation')
    if not isinstance(polygons, list):
        return
    flat = [_flat(polygon) for polygon in polygons]
    usable = [polygon for polygon in flat if isinstance(polygon, list) and len(polygon) >= 6]
    if flat != polygons:
        annotation['segmentation'] = polygons = flat
        yield 'polygon of points made one of numbers'
    if usable and len(usable) < len(polygons):
        annotation['segmentation'] = usable
        yield 'polygon of less than three points left out'


def _flat(polygon: Any) -> Any:
    points = isinstance(polygon, list) and all(
        isinstance(point, list) and len(point) == 2 for point in polygon
    )
    return [value for point in polygon for value in point] if points and polygon else polygon


def _images(content: Content, images: Path) -> Iterator[str]:
    """Makes one entry of those of the same image."""
    first: dict[str, Any] = {}
    new = {}
    kept = []
    for image in content['images']:
        name, key = image.get('file_name'), image.get('id')
        if isinstance(name, str) and first.setdefault(name, key) != key:
            new[key] = first[name]
            yield 'image listed again left out, its objects given to the first'
        else:
            kept.append(image)
    content['images'] = kept
    for annotation in content['annotations']:
        if isinstance(key := annotation.get('image_id'), int | str) and key in new:
            annotation['image_id'] = new[key]


def _annotations(content: Content, images: Path) -> Iterator[str]:
    """Leaves out annotations given twice or unusable, and numbers them from 1."""
    known = {_key(image.get('id')) for image in content['images']}
    seen: set[str] = set()
    kept: list[dict] = []
    for annotation in content['annotations']:
        text = json.dumps({key: value for key, value in annotation.items() if key != 'id'})
        box = annotation.get('bbox')
        sound = isinstance(box, list) and len(box) == 4 and not {*map(type, box)} - {int, float}
        if text in seen:
            yield 'annotation given twice left out'
        elif not sound or not min(box[2:]) >= 1 or any(value != value for value in box):
            yield 'annotation without a box of 4 numbers and a pixel left out'
        elif _key(annotation.get('image_id')) not in known:
            yield 'annotation of an image that is not listed left out'
        else:
            seen.add(text)
            kept.append(annotation)
    ids = [annotation.get('id') for annotation in kept]
    if any(type(key) is not int or key < 1 for key in ids) or len({*ids}) < len(ids):
        for number, annotation in enumerate(kept, 1):
            annotation['id'] = number
        yield 'annotations numbered from 1'
    content['annotations'] = kept
