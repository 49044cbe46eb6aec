"""``predictions.json``: results in COCO's format, of images, categories and annotations."""

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..errors import UserError
from ..files import whole_file
from ..signals import put_off
from .legend import Legend
from .masks import label_run_lengths, run_lengths
from .results import Classification, Detections, LabelMap, Result


class CocoFile:
    """Writes results image by image; :meth:`open` makes one.

    Nothing stays in memory. The list ``annotations`` is what ``pycocotools.coco.COCO.loadRes``
    takes: boxes with scores, and masks if there are any, or one mask for each class of a label map.
    Of a classifier it has the five most likely classes with their scores.

    Args:
        lines: Where to write.
        legend: Has the names of the classes.
        category_ids: By label, see :meth:`open`.
    """

    def __init__(
        self, lines: TextIO, legend: Legend, category_ids: Sequence[Hashable] | None
    ) -> None:
        self._lines = lines
        self._legend = legend
        self._category_ids = category_ids
        self._labels: set[int] = set()
        self._images = self._annotations = 0

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
        """Opens a file that is written when the block ends without an error.

        Until then the results are in ``<stem>.jsonl`` beside it, where each is written as it comes.
        That file stays after an error, or if the process is killed: :func:`finish` makes the whole
        one of it.

        Args:
            path: File to write.
            legend: Has the names of the classes.
            category_ids: Numbers of the classes by label; default: the label plus 1.
            info: What to say about the file.

        Raises:
            OSError: If one of them cannot be written; the error names it.
        """
        path = Path(path)
        lines_path = path.with_suffix('.jsonl')
        path.parent.mkdir(parents=True, exist_ok=True)
        lines_path.unlink(missing_ok=True)  # of a run before, or a link
        with open(lines_path, 'x+', encoding='utf-8') as lines:
            self = cls(lines, legend, category_ids)
            try:
                self._write(info=info or {}, categories=self._new(range(len(legend.names))))
                yield self
                with put_off():
                    _merge(lines, path)
            except BaseException:
                if not self._images:
                    lines_path.unlink(missing_ok=True)
                raise
        lines_path.unlink(missing_ok=True)

    def add(
        self,
        name: str,
        result: Result,
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
        image_id = self._images + 1 if image_id is None else image_id
        found = [*FOUND[type(result)](result)]
        annotations = [
            dict(
                id=self._annotations + index,
                image_id=image_id,
                category_id=self._category(label),
                **annotation,
            )
            for index, (label, annotation) in enumerate(found, 1)
        ]
        image = dict(id=image_id, file_name=name, width=width, height=height, **extra)
        categories = self._new(label for label, _ in found)
        self._write(categories=categories, images=[image], annotations=annotations)
        self._images += 1
        self._annotations += len(annotations)

    def _write(self, **content: Any) -> None:
        """Writes a line, which has some of the keys of the whole file, to the disk's own cache."""
        try:
            self._lines.write(f'{json.dumps(content)}\n')
            self._lines.flush()
        except OSError as error:  # such as a full disk
            error.filename = self._lines.name
            raise

    def _new(self, labels: Iterable[int]) -> list[dict[str, Any]]:
        """The categories of labels that were not there before."""
        new = sorted({*labels} - self._labels)
        self._labels.update(new)
        return [dict(id=self._category(label), name=self._legend.name(label)) for label in new]

    def _category(self, label: int) -> Hashable:
        if self._category_ids is None:
            return label + 1
        if label >= len(self._category_ids):
            raise UserError(
                f'the model found class {label}, but has names of {len(self._category_ids)} '
                'classes only, so it has no category in the annotations.'
            )
        return self._category_ids[label]


def _objects(result: Detections) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, (left, top, right, bottom) in enumerate(result.boxes.tolist()):
        width, height = right - left, bottom - top
        annotation = dict(
            bbox=[left, top, width, height],
            area=width * height,
            iscrowd=0,
            score=float(result.scores[index]),
        )
        if (track_id := result.track_id(index)) is not None:
            annotation['track_id'] = track_id
        if result.has_masks:
            mask = result.mask(index)
            annotation.update(segmentation=run_lengths(mask), area=int(mask.sum()))
        yield int(result.labels[index]), annotation


def _classes(result: LabelMap) -> Iterator[tuple[int, dict[str, Any]]]:
    codes, areas = label_run_lengths(result.labels), np.bincount(result.labels.ravel())
    for label in result.shares():
        yield label, dict(segmentation=codes[label], area=int(areas[label]), iscrowd=0)


def _ranking(result: Classification) -> Iterator[tuple[int, dict[str, Any]]]:
    for label, score in result.best():
        yield label, dict(score=score)


# A label and what else an annotation says, for each thing that a result holds.
FOUND: dict[type, Callable[[Any], Iterator[tuple[int, dict[str, Any]]]]] = {
    Detections: _objects,
    LabelMap: _classes,
    Classification: _ranking,
}


def finish(lines_path: str | Path) -> Path:
    """Makes the whole file of the ``.jsonl`` that a killed run left, and removes that.

    Args:
        lines_path: ``predictions.jsonl``.

    Returns:
        The file in COCO's format, ``predictions.json`` beside it.

    Raises:
        UserError: If there is no such file, or it is of another kind.
    """
    lines_path = Path(lines_path)
    path = lines_path.with_suffix('.json')
    try:
        with open(lines_path, encoding='utf-8') as lines:
            _merge(lines, path)
    except FileNotFoundError as error:
        raise UserError(f'there is no file {lines_path}.') from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # JSON of another kind
        raise UserError(f'{lines_path} holds no results of a run: {error}') from error
    lines_path.unlink()
    return path


def _merge(lines: TextIO, path: Path) -> None:
    """Writes what lines of :class:`CocoFile` hold as one file; one that is cut off is left out.

    They are read once for each list, so that no list is in memory.
    """
    with whole_file(path) as part, open(part, 'w', encoding='utf-8') as file:
        lines.seek(0)
        file.write(f'{{"info": {json.dumps(json.loads(lines.readline())["info"])}')
        for name in ('annotations', 'images', 'categories'):
            file.write(f', "{name}": [')
            for count, value in enumerate(_values(lines, name)):
                file.write((',\n' if count else '\n') + json.dumps(value))
            file.write('\n]')
        file.write('}\n')


def _values(lines: TextIO, name: str) -> Iterator[Any]:
    lines.seek(0)
    for line in lines:
        if line.endswith('\n'):
            yield from json.loads(line).get(name, ())
