"""Reading of COCO annotations, as MMDetection's CocoDataset reads them, and judging each entry."""

import gc
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..limits import MAX_COORDINATE, MAX_PIXELS
from .coco_file import merge_categories, read_coco
from .data import AnnotatedImage, DataSet, Use
from .geometry import crosses_border, has_area
from .masks import read_mask
from .problems import Problem

LEAST_BOXES = 4  # from so many on, their numbers tell that they are corners
LEAST_LOST = 3
SHARE = 0.1  # of a file's objects, above which a problem is one of the whole file
LEFT_OUT = {Problem.LOST_BOX, Problem.BROKEN_MASK}
LOOKS = 40  # characters of a wrong value in a message


def read_coco_set(dataset: Any, data: DataSet, use: Use) -> None:
    """Adds the images of a CocoDataset of mmdet and their objects to ``data``.

    Raises:
        UserError: If the annotation file is not in COCO format at all.
    """
    with _uncollected():
        reader = _Reader(read_coco(dataset.ann_file), data, use)
        reader.read(Path(dataset.data_prefix.get('img') or ''), by_name=_maps_by_name(dataset))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Lets no garbage be collected: of millions of new lists, none is, and looking takes long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _maps_by_name(dataset: Any) -> bool:
    from .by_name import CocoByName  # here, as it imports mmdet

    return dataset.COCOAPI is CocoByName


class _Reader:
    """Reads the content of an annotation file into a data set.

    Args:
        content: As :func:`~.coco_file.read_coco` returns it.
        data: The data set, which is filled.
        use: What the data is for.
    """

    def __init__(self, content: dict[str, list[dict]], data: DataSet, use: Use) -> None:
        self.content = content
        self.data = data
        self.use = use
        self.problems = data.problems
        self.names: dict[Any, str] = {}
        self.images: dict[Any, AnnotatedImage] = {}

    def read(self, folder: Path, *, by_name: bool) -> None:
        """Reads everything.

        Args:
            folder: Where the image files are.
            by_name: Whether the data set makes one category of those that share a name.
        """
        if by_name:
            merge_categories(self.content)
        categories = self._entries('category', 'categories', _category_lacks)
        self.names = {key: category['name'] for key, category in categories.items()}
        self.problems += [
            (Problem.DUPLICATE_ID, f'category name {name}')
            for name, count in Counter(self.names.values()).items()
            if count > 1
        ]
        for key, entry in self._entries('image', 'images', _image_lacks).items():
            name = entry['file_name']
            size = int(entry['width']), int(entry['height'])
            self.images[key] = AnnotatedImage(folder / name, name, size)
        self.data.images += self.images.values()
        files = Counter(os.path.normpath(image.path) for image in self.images.values())
        self.problems += [
            (Problem.LISTED_TWICE, f'{file} ({count} times)')
            for file, count in files.items()
            if count > 1
        ]
        self._annotations()

    def _entries(self, kind: str, key: str, lacks: Any) -> dict[Any, dict]:
        """Returns the entries of a list by their id, without those that cannot be used."""
        found: dict[Any, dict] = {}
        for number, entry in enumerate(self.content[key]):
            if lacking := list(lacks(entry)):
                name = entry.get('file_name') or entry.get('name') or f'number {number}'
                self.problems.append((Problem.INCOMPLETE, f'{kind} {name}: {", ".join(lacking)}'))
            elif entry['id'] in found:
                self.problems.append((Problem.DUPLICATE_ID, f'{kind} id {entry["id"]}'))
            else:
                found[entry['id']] = entry
        return found

    def _annotations(self) -> None:
        ids, objects = set(), set()
        crossing = corners = total = lost = 0
        for annotation in _taken(self.content['annotations']):
            key, image_id = annotation.get('id'), annotation.get('image_id')
            image = self.images.get(image_id) if _is_key(image_id) else None
            place = f'annotation {key}' if image else f'annotation {key}, image id {image_id}'
            problems = image.problems if image else self.problems
            if _is_key(key) and key in ids:
                problems.append((Problem.DUPLICATE_ID, place))
            ids.add(key if _is_key(key) else None)
            found = list(self._judge(annotation, image))
            problems += [(problem, place + detail) for problem, detail in found]
            lost += bool(LEFT_OUT & {problem for problem, _ in found})
            box = annotation.get('bbox')
            if image is None or not _is_box(box):
                continue
            same = image_id, str(annotation.get('category_id')), *box
            if same in objects:
                problems.append((Problem.OBJECT_TWICE, place))
            objects.add(same)
            total += 1
            left, top, right, bottom = box
            crossing += crosses_border((left, top, left + right, top + bottom), image.size)
            corners += left < right and top < bottom and not crosses_border(tuple(box), image.size)
        if total >= LEAST_BOXES and crossing > SHARE * total and corners == total:
            self.problems.append((Problem.CORNERS, f'{self.data.source}: {total} of {total} boxes'))
        if lost >= LEAST_LOST and lost > SHARE * total:
            self.problems.append((Problem.LOST_OBJECTS, f'{self.data.source}: {lost} of {total}'))

    def _judge(
        self, annotation: dict, image: AnnotatedImage | None
    ) -> Iterator[tuple[Problem, str]]:
        """Yields what is wrong with an annotation, and adds it to its image if it can be used."""
        lacking = list(_annotation_lacks(annotation, self.use))
        category = annotation.get('category_id')
        if annotation.get('id') == 0 and self.use.evaluation:
            yield Problem.ID_ZERO, ''
        if lacking:
            yield Problem.INCOMPLETE, f': {", ".join(lacking)}'
        elif image is None:
            other = _other_kind(annotation['image_id'], self.images)
            yield (Problem.ID_KIND, other) if other else (Problem.UNKNOWN_IMAGE, '')
        elif category not in self.names:
            other = _other_kind(category, self.names)
            yield (Problem.ID_KIND, other) if other else (Problem.UNKNOWN_CATEGORY, f': {category}')
        elif self.names[category] not in self.data.classes:
            yield Problem.OTHER_CATEGORY, f': {self.names[category]}'
        else:
            yield from self._add(annotation, image, self.data.classes.index(self.names[category]))

    def _add(
        self, annotation: dict, image: AnnotatedImage, label: int
    ) -> Iterator[tuple[Problem, str]]:
        if annotation.get('ignore'):
            self.data.ignored[label] += 1
            return
        left, top, width, height = annotation['bbox']
        box = left, top, left + width, top + height
        if annotation['area'] <= 0 or not has_area(box, image.size):
            yield Problem.LOST_BOX, ''
            return
        if crosses_border(box, image.size):
            yield Problem.BORDER, ''
        mask, ignored = None, bool(annotation.get('iscrowd'))
        if self.use.masks:
            mask, found = read_mask(
                annotation.get('segmentation'),
                image.size,
                box=box,
                evaluation=self.use.evaluation,
            )
            ignored = ignored or any(problem is Problem.BROKEN_MASK for problem, _ in found)
            yield from found
        self.data.ignored[label] += ignored
        counts = None if mask is None else mask['counts']
        image.add(box, label, mask=counts, ignored=ignored)


def _taken(entries: list[dict]) -> Iterator[dict]:
    """Yields entries out of a list, whose memory what is made of them can take."""
    entries.reverse()
    while entries:
        yield entries.pop()


def _is_number(value: Any) -> bool:
    """Returns whether a value is a number of a size that pixels can have; NaN is none."""
    return type(value) in (int, float) and -(MAX_COORDINATE**2) <= value <= MAX_COORDINATE**2


def _is_key(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, int | float) and value == value)


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(
            type(value) in (int, float) and -MAX_COORDINATE <= value <= MAX_COORDINATE
            for value in box
        )
    )


def _described(entry: dict, key: str, expected: str) -> str:
    """Returns what is wrong with a value that is absent or none of those expected."""
    value = entry.get(key)
    return key if value is None else f'{key} is {_look(value)}, not {expected}'


def _look(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LOOKS else f'{text[:LOOKS]}...'


def _category_lacks(entry: dict) -> Iterator[str]:
    if not _is_key(entry.get('id')):
        yield _described(entry, 'id', 'a number')
    if not isinstance(entry.get('name'), str):
        yield _described(entry, 'name', 'text')


def _image_lacks(entry: dict) -> Iterator[str]:
    if not _is_key(entry.get('id')):
        yield _described(entry, 'id', 'a number')
    if not isinstance(entry.get('file_name'), str) or not entry['file_name']:
        yield _described(entry, 'file_name', 'text')
    sides = [entry.get('width'), entry.get('height')]
    for key, side in zip(('width', 'height'), sides):
        if not _is_number(side) or side != int(side) or side < 1:
            yield _described(entry, key, 'a whole number of pixels')
            return
    if sides[0] * sides[1] > MAX_PIXELS:
        yield f'width x height is over {MAX_PIXELS} pixels'


def _annotation_lacks(annotation: dict, use: Use) -> Iterator[str]:
    for key in ('id', 'image_id', 'category_id'):
        if not _is_key(annotation.get(key)):
            yield _described(annotation, key, 'a number')
    if not _is_number(annotation.get('area')):
        yield _described(annotation, 'area', 'a number')
    for key in ('iscrowd', 'ignore'):
        value = annotation.get(key)
        needed = key == 'iscrowd' and use.evaluation
        if (value is None and needed) or (value is not None and value not in (0, 1)):
            yield _described(annotation, key, '0 or 1')
    if not _is_box(annotation.get('bbox')):
        yield 'bbox of 4 numbers'


def _other_kind(key: Any, known: dict) -> str:
    """Returns a remark if an id is there as text and as a number, as MMDetection compares it."""
    texts = {_text(each): each for each in known} if isinstance(key, str) else {}
    other = texts.get(key) if isinstance(key, str) else (str(key) if str(key) in known else None)
    return '' if other is None else f': {key!r}, where the list has {other!r}'


def _text(key: Any) -> str:
    whole = isinstance(key, float) and key == int(key)
    return str(int(key)) if whole else str(key)
