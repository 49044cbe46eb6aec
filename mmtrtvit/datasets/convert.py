"""Conversion of data sets of other tools into annotation files in COCO format.

The formats are read in the room ``formats``.
"""

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import UserError
from ..files import write_whole
from ..images import read_size

# Names of the splits in other data sets; the first ones are ours.
SPLIT_NAMES = {'train': ('train',), 'val': ('val', 'valid', 'validation'), 'test': ('test',)}
SHOWN = 10  # problems in a message
TWICE = 'objects that stand twice in an image are taken once'

Size = tuple[int, int]
Read = list[tuple[Path, Size, list[dict[str, Any]]]]


@dataclass
class LabelFiles:
    """A data set with labels for each image.

    Attributes:
        base: Its folder.
        splits: Paths of the images, each with its label file or with what else ``read`` takes. An
            image whose label file does not exist has no objects.
        read: Returns the objects of a label file, as :func:`coco_object` makes them, for an image
            of a width and height in pixels. Raises ValueError if the file cannot be used.
        classes: Names of the classes in their order; None for all that occur, by the alphabet.
        no_val: Why there are no images for val, if so.
        notes: What the user should know, and ``read`` what it leaves out, with how often.
    """

    base: Path
    splits: dict[str, list[tuple[Path, Any]]]
    read: Callable[[Any, Size], list[dict[str, Any]]]
    classes: Sequence[str] | None = None
    no_val: str = ''
    notes: Counter[str] = field(default_factory=Counter)


@dataclass
class ConvertedSplit:
    """The annotations of one split.

    Attributes:
        file: The annotation file in COCO format.
        images: Number of images.
        empty: Number of those without an object.
        boxes_only: Number of objects without a polygon.
        counts: Objects by class.
    """

    file: Path
    images: int
    empty: int
    boxes_only: int
    counts: dict[str, int]


@dataclass
class Converted:
    """A converted data set.

    Attributes:
        data_root: The folder that the file names of the images start from.
        classes: Names of the classes in the order of their category ids, which start from 1.
        splits: What was written of train, val and, if there is one, test.
        notes: What the user should know.
    """

    data_root: Path
    classes: list[str]
    splits: dict[str, ConvertedSplit]
    notes: list[str]

    @property
    def has_polygons(self) -> bool:
        """Whether every object has a polygon, as instance segmentation needs it."""
        return not any(split.boxes_only for split in self.splits.values())


def coco_object(
    name: str,
    box: np.ndarray | None = None,
    *,
    size: Size,
    polygons: Sequence[np.ndarray] = (),
    mask: np.ndarray | None = None,
    crowd: int = 0,
) -> dict[str, Any]:
    """Returns an annotation in COCO format, but for its ids and with the name of the class.

    Args:
        name: The class.
        box: Left, top, right and bottom in pixels: (4,). Default: that of polygons or mask.
        size: Width and height of the image in pixels.
        polygons: Points x, y in pixels: (N, 2) each.
        mask: ``(H, W)``, 1 inside of the object and 0 outside, in place of polygons.
        crowd: 1 for an object that training and metric should not count.

    Raises:
        ValueError: If polygons have less than three points, or points are no numbers or farther
            away than two images.
    """
    found: dict[str, Any] = dict(name=name)
    for points in (*polygons, *([] if box is None else [box])):
        if not np.abs(points).max() <= 2 * max(size):  # NaN is not, either
            raise ValueError(f'{name} has coordinates that are no numbers or far outside')
    if any(len(polygon) < 3 for polygon in polygons):
        raise ValueError(f'{name} has a polygon of less than 3 points')
    if polygons:
        points = np.concatenate(polygons)
        if box is None:
            box = np.array([*points.min(axis=0), *points.max(axis=0)])
        found['segmentation'] = [_rounded(polygon.ravel().tolist()) for polygon in polygons]
        rle = coco_mask.merge(coco_mask.frPyObjects(found['segmentation'], size[1], size[0]))
    elif mask is not None:
        rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        left, top, width, height = coco_mask.toBbox(rle)
        box = np.array([left, top, left + width, top + height])
        found['segmentation'] = dict(size=rle['size'], counts=rle['counts'].decode())
    left, top, right, bottom = (float(value) for value in box)
    width, height = right - left, bottom - top
    has_mask = 'segmentation' in found
    return dict(
        found,
        bbox=_rounded([left, top, width, height]),
        area=int(coco_mask.area(rle)) if has_mask else round(width * height, 3),
        iscrowd=crowd,
    )


def convert(
    files: LabelFiles,
    out: str | Path,
    *,
    val: float | None = None,
    copy: bool = False,
    overwrite: bool = False,
    track: Callable[..., Iterable] = lambda items, **_: items,
) -> Converted:
    """Writes ``<split>.json`` of all splits, or nothing.

    Args:
        files: The data set.
        out: Folder for the annotation files, and for the images if they are copied.
        val: Share of train's images that becomes val where there is no val. They are drawn at
            random, the same ones each time.
        copy: Copy the images, too. Otherwise they stay where they are.
        overwrite: Replace annotation files in ``out``.
        track: Shows progress: called like :func:`tqdm.tqdm` with an iterable and ``desc``.

    Raises:
        UserError: If train or val is missing, annotation files exist already, or anything in the
            data set cannot be used.
    """
    out = Path(out).absolute()
    _need_val(files, val)
    targets = {name: out / f'{name}.json' for name in files.splits}
    existing = [str(file) for file in targets.values() if file.exists()]
    if existing and not overwrite:
        raise UserError(
            f'{", ".join(existing)} exists. Write over it with --overwrite, or choose '
            'another folder.'
        )
    for name, pairs in files.splits.items():
        if not any(_there(label) for _, label in pairs):
            raise UserError(
                f'{name}: none of the {len(pairs)} images has a label file. For '
                f'{pairs[0][0]} it would be {pairs[0][1]}.'
            )
    problems: list[str] = []
    splits = {
        name: list(_read(track(pairs, desc=name), files, problems))
        for name, pairs in files.splits.items()
    }
    if problems:
        lines = ['nothing was converted:', *problems[:SHOWN]]
        if len(problems) > SHOWN:
            lines.append(f'... and {len(problems) - SHOWN} more')
        raise UserError('\n  '.join(lines))
    names = {item['name'] for split in splits.values() for *_, items in split for item in items}
    classes = list(files.classes or sorted(names))
    if not names <= set(classes):
        unknown = ', '.join(sorted(names - set(classes)))
        raise UserError(
            f'the labels have classes that are not among {", ".join(classes)}: {unknown}.'
        )
    for spelled in _alike(classes):
        files.notes[f'classes whose names differ in capital letters alone: {spelled}'] += 1
    images = [image for split in splits.values() for image, *_ in split]
    root = Path(
        os.path.commonpath([os.path.abspath(files.base), *(image.parent for image in images)])
    )
    if copy:
        for image in track(images, desc='copying'):
            target = out / image.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(image, target)
    for name, split in splits.items():
        write_whole(targets[name], json.dumps(_coco(split, classes, root)), sync=True)
    return Converted(
        out if copy else root,
        classes,
        {name: _summary(split, classes, targets[name]) for name, split in splits.items()},
        [f'{note} ({count:,})' if count > 1 else note for note, count in files.notes.items()],
    )


def config_snippet(converted: Converted) -> str:
    """Returns a config that trains on a converted data set."""
    root, splits = converted.data_root, converted.splits

    def path(split: str) -> str:
        file = splits[split].file
        return repr(file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file))

    model = 'mask_rcnn' if converted.has_polygons else 'retinanet'
    lines = [
        f"_base_ = __import__('mmtrtvit').config_path('{model}_trtvit_b.py')",
        f'metainfo = dict(classes={tuple(converted.classes)})',
        f'data_root = {str(root) + os.sep!r}',
    ]
    for name in SPLIT_NAMES:
        lines.append(
            f'{name}_dataloader = '
            + (
                'dict(dataset=dict(\n'
                f"    data_root=data_root, ann_file={path(name)}, data_prefix=dict(img='')))"
                if name in splits
                else 'val_dataloader'
            )
        )
    for name in ('val', 'test'):
        lines.append(
            f'{name}_evaluator = '
            + (f'dict(ann_file={str(splits[name].file)!r})' if name in splits else 'val_evaluator')
        )
    return '\n'.join(lines)


def _need_val(files: LabelFiles, share: float | None) -> None:
    """Moves images from train to val if there is no val and a share is given."""
    if files.splits.get('val'):
        return
    train = files.splits['train']
    count = round(len(train) * (share or 0))
    if not 0 < count < len(train):
        raise UserError(
            f'{files.no_val} To take some of the {len(train)} images of train, give --val 0.2 or '
            'another share of them.'
        )
    chosen = {*random.Random(0).sample(range(len(train)), count)}
    files.splits = dict(
        files.splits,
        train=[pair for index, pair in enumerate(train) if index not in chosen],
        val=[pair for index, pair in enumerate(train) if index in chosen],
    )


def _there(label: Any) -> bool:
    return label.is_file() if isinstance(label, Path) else True


def _alike(classes: Iterable[str]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name in classes:
        names.setdefault(name.lower(), []).append(name)
    return [', '.join(spellings) for spellings in names.values() if len(spellings) > 1]


def _read(
    pairs: Iterable[tuple[Path, Any]],
    files: LabelFiles,
    problems: list[str],
) -> Iterator[tuple[Path, Size, list[dict[str, Any]]]]:
    """Yields path, size and objects of each image, and adds to ``problems`` what failed."""
    for image, label in pairs:
        try:
            size = read_size(image)
            objects = files.read(label, size) if _there(label) else []
        except UserError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f'{label} cannot be read: {error.strerror}.')
        except (ValueError, OverflowError) as error:
            problems.append(f'{label if isinstance(label, Path) else image}: {error}')
        else:
            once = {json.dumps(item): item for item in objects}.values()
            if len(once) < len(objects):
                files.notes[TWICE] += len(objects) - len(once)
            yield Path(os.path.abspath(image)), size, [*once]


def _coco(split: Read, classes: Sequence[str], root: Path) -> dict[str, list]:
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id, (image, (width, height), objects) in enumerate(split, 1):
        images.append(
            dict(
                id=image_id,
                file_name=image.relative_to(root).as_posix(),
                width=width,
                height=height,
            )
        )
        for item in objects:
            content = {key: value for key, value in item.items() if key != 'name'}
            annotations.append(
                dict(
                    id=len(annotations) + 1,  # from 1: COCO's metric takes 0 for a miss
                    image_id=image_id,
                    category_id=classes.index(item['name']) + 1,
                    **content,
                )
            )
    categories = [dict(id=number, name=name) for number, name in enumerate(classes, 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def _summary(split: Read, classes: Sequence[str], file: Path) -> ConvertedSplit:
    counts = Counter(item['name'] for *_, objects in split for item in objects)
    return ConvertedSplit(
        file,
        len(split),
        empty=sum(not objects for *_, objects in split),
        boxes_only=sum('segmentation' not in item for *_, objects in split for item in objects),
        counts={name: counts[name] for name in classes},
    )


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]
