"""``predictions.json``: results in COCO's format, of images, categories and annotations."""

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..errors import UserError
from ..files import whole_file
from .legend import Legend
from .masks import label_run_lengths, run_lengths
from .results import Detections, LabelMap


class CocoFile:
    """Writes results image by image; :meth:`open` makes one.

    Nothing but the images' names and sizes stays in memory. The list ``annotations`` is what
    ``pycocotools.coco.COCO.loadRes`` takes: boxes with scores, and masks if there are any, or one
    mask for each class of a label map.

    Args:
        file: Where to write.
        legend: Has the names of the classes.
        category_ids: By label, see :meth:`open`.
    """

    def __init__(
        self, file: TextIO, legend: Legend, category_ids: Sequence[Hashable] | None
    ) -> None:
        self._file = file
        self._legend = legend
        self._category_ids = category_ids
        self._labels = {*range(len(legend.names))}
        self._images: list[dict[str, Any]] = []
        self._count = 0

    @classmethod
    @contextmanager
    def open(
        cls,
        path: str | Path,
        legend: Legend,
        *,
        category_ids: Sequence[Hashable] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> Iterator['CocoFile']:
        """Opens a file that gets its name when the block ends without an error.

        Args:
            path: File to write.
            legend: Has the names of the classes.
            category_ids: Numbers of the classes by label; default: the label plus 1.
            info: What to say about the file.
        """
        with whole_file(Path(path)) as part, open(part, 'w', encoding='utf-8') as file:
            self = cls(file, legend, category_ids)
            file.write(f'{{"info": {json.dumps(info or {})}, "annotations": [')
            yield self
            categories = [
                dict(id=self._category(label), name=legend.name(label))
                for label in sorted(self._labels)
            ]
            rest = json.dumps(dict(images=self._images, categories=categories))
            file.write(f'\n], {rest[1:]}\n')

    def add(
        self,
        name: str,
        result: Detections | LabelMap,
        *,
        image_id: Hashable = None,
        **extra: Any,
    ) -> None:
        """Adds an image.

        Args:
            name: Its file name.
            result: What was found in it.
            image_id: Its number; default: how many there are with this one.
            extra: What else to say about it, such as the number of a frame.

        Raises:
            UserError: If there are numbers of categories, but none for a label.
        """
        height, width = result.size
        image_id = len(self._images) + 1 if image_id is None else image_id
        found = self._classes(result) if isinstance(result, LabelMap) else self._objects(result)
        annotations = [
            json.dumps(dict(id=self._count + index, image_id=image_id, **annotation))
            for index, annotation in enumerate(found, 1)
        ]
        if annotations:
            self._file.write((',\n' if self._count else '\n') + ',\n'.join(annotations))
        self._count += len(annotations)
        self._images.append(dict(id=image_id, file_name=name, width=width, height=height, **extra))

    def _objects(self, result: Detections) -> Iterator[dict[str, Any]]:
        for index, (left, top, right, bottom) in enumerate(result.boxes.tolist()):
            width, height = right - left, bottom - top
            annotation = dict(
                category_id=self._category(int(result.labels[index])),
                bbox=[left, top, width, height],
                area=width * height,
                iscrowd=0,
                score=float(result.scores[index]),
            )
            if result.has_masks:
                mask = result.mask(index)
                annotation.update(segmentation=run_lengths(mask), area=int(mask.sum()))
            yield annotation

    def _classes(self, result: LabelMap) -> Iterator[dict[str, Any]]:
        codes, areas = label_run_lengths(result.labels), np.bincount(result.labels.ravel())
        for label in result.shares():
            yield dict(
                category_id=self._category(label),
                segmentation=codes[label],
                area=int(areas[label]),
                iscrowd=0,
            )

    def _category(self, label: int) -> Hashable:
        self._labels.add(label)
        if self._category_ids is None:
            return label + 1
        if label >= len(self._category_ids):
            raise UserError(
                f'the model found class {label}, but has names of {len(self._category_ids)} '
                'classes only, so it has no category in the annotations.'
            )
        return self._category_ids[label]
