"""Detections in COCO's format: a file of images, categories and annotations with scores."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ..errors import UserError
from ..files import whole_file
from .masks import run_lengths
from .results import Detections


@dataclass(frozen=True)
class Ids:
    """Numbers of images and categories in a data set.

    Attributes:
        images: By file name; others are numbered from 1 in their order.
        categories: By class name; others have their label plus 1.
    """

    images: Mapping[str, int] = field(default_factory=dict)
    categories: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of_file(cls, path: str | Path) -> 'Ids':
        """Reads them from COCO annotations, so that predictions can be evaluated on these.

        Raises:
            UserError: If it is no such file.
        """
        try:
            content = json.loads(Path(path).read_text(encoding='utf-8'))
            return cls(
                {image['file_name']: image['id'] for image in content['images']},
                {each['name']: each['id'] for each in content['categories']},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f'{path} cannot be read as COCO annotations: {error!r}') from error


class CocoFile:
    """Writes detections image by image; :meth:`open` makes one.

    Nothing but the images' names and sizes stays in memory. The list ``annotations`` is what
    ``pycocotools.coco.COCO.loadRes`` takes.

    Args:
        file: Where to write.
        classes: Names by label.
        ids: Numbers to use.
    """

    def __init__(self, file: TextIO, classes: tuple[str, ...], ids: Ids) -> None:
        self._file = file
        self._classes = classes
        self._ids = ids
        self._images: list[dict[str, Any]] = []
        self._count = 0

    @classmethod
    @contextmanager
    def open(
        cls, path: str | Path, classes: tuple[str, ...], ids: Ids | None = None
    ) -> Iterator['CocoFile']:
        """Opens a file that gets its name when the block ends without an error."""
        with whole_file(Path(path)) as part, open(part, 'w', encoding='utf-8') as file:
            self = cls(file, classes, ids or Ids())
            file.write('{"annotations": [')
            yield self
            categories = [
                dict(id=self._category(label), name=name) for label, name in enumerate(classes)
            ]
            rest = json.dumps(dict(images=self._images, categories=categories))
            file.write(f'\n], {rest[1:]}\n')

    def add(self, name: str, result: Detections, **extra: Any) -> None:
        """Adds an image.

        Args:
            name: Its file name.
            result: What was found in it.
            extra: What else to say about it, such as the number of a frame.
        """
        height, width = result.size
        number = self._ids.images.get(name, len(self._images) + 1)
        self._images.append(dict(id=number, file_name=name, width=width, height=height, **extra))
        for index in range(len(result)):
            record = json.dumps(self._annotation(result, index, number))
            self._file.write((',\n' if self._count > 1 else '\n') + record)

    def _annotation(self, result: Detections, index: int, image: int) -> dict[str, Any]:
        self._count += 1
        left, top, right, bottom = map(float, result.boxes[index])
        annotation = dict(
            id=self._count,
            image_id=image,
            category_id=self._category(int(result.labels[index])),
            bbox=[left, top, right - left, bottom - top],
            area=(right - left) * (bottom - top),
            iscrowd=0,
            score=float(result.scores[index]),
        )
        if result.cells is not None:
            mask = result.mask(index)
            annotation.update(segmentation=run_lengths(mask), area=int(mask.sum()))
        return annotation

    def _category(self, label: int) -> int:
        name = self._classes[label] if label < len(self._classes) else None
        return self._ids.categories.get(name, label + 1)
