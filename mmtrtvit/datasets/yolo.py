"""YOLO data sets: a ``data.yaml`` and a label file per image, with boxes or polygons.

The ``supervision`` library parses the lines. Polygons are taken over point by point, not through
its masks: those are rounded to pixels, cut at the border, arrays as large as the image for each
object, and an object of two parts would come out as a crowd, which MMDetection does not train.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..errors import UserError, did_you_mean, listed
from ..media import IMAGES
from ..plain_yaml import PlainLoader
from .convert import SPLIT_NAMES, LabelFiles, Size, coco_object
from .images import find_images

TOLERANCE = 0.01  # of the image, for labels that were rounded outwards


def find_yolo(source: str | Path) -> LabelFiles:
    """Finds the images and label files of a YOLO data set.

    A label file lies beside its image, or where ``labels`` stands for the last ``images`` in its
    path.

    Args:
        source: The folder of ``data.yaml``, or a file like it.

    Raises:
        UserError: If ``data.yaml`` is missing, does not name classes and images of train and val,
            or names what does not exist.
    """
    file = _data_yaml(Path(source).absolute())
    content = _load(file)
    classes = _classes(content.get('names'), file)
    base = file.parent / str(content.get('path') or '')
    if not base.is_dir():  # of the machine that the data set comes from
        base = file.parent
    splits = {}
    for name, aliases in SPLIT_NAMES.items():
        entry = next((content[alias] for alias in aliases if content.get(alias)), None)
        if entry:
            images = _images(entry, base, f'{file} has {name}: {entry}')
            splits[name] = [(image, _label(image)) for image in images]
    missing = [name for name in ('train', 'val') if name not in splits]
    if missing:
        raise UserError(
            f'{file} names no images for {" and ".join(missing)}. It should have '
            'lines like "train: images/train" and "val: images/val".'
        )
    return LabelFiles(base, splits, partial(_read, classes), classes)


def _data_yaml(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise UserError(f'no folder {source}.')
    files = sorted(path for path in source.iterdir() if path.suffix in ('.yaml', '.yml'))
    likely = [path for path in files if path.stem == 'data'] or files
    if len(likely) != 1:
        there = f' Name one of these instead: {", ".join(map(str, files))}.' if files else ''
        raise UserError(
            f'{source} has no data.yaml, which names the classes (names) and the '
            f'folders of the images (train, val) of a YOLO data set.{there}'
        )
    return likely[0]


def _load(file: Path) -> dict[str, Any]:
    try:
        content = yaml.load(file.read_text(encoding='utf-8'), PlainLoader)
    except (yaml.YAMLError, UnicodeDecodeError, UserError) as error:
        raise UserError(f'{file} cannot be read as YAML: {error}') from error
    if not isinstance(content, dict):
        raise UserError(f'{file} should have the keys names, train and val.')
    if 'kpt_shape' in content:
        raise UserError(
            f'{file} has kpt_shape: only boxes and polygons are converted, keypoints are not.'
        )
    return content


def _classes(names: Any, file: Path) -> list[str]:
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names or len(set(map(str, names))) != len(names):
        raise UserError(
            f'{file}: names should be a list of different class names, or have one for '
            f'each number from 0 on; it is {names}.'
        )
    return [str(name) for name in names]


def _images(entry: Any, base: Path, place: str) -> list[Path]:
    images = []
    for part in map(str, entry if isinstance(entry, list) else [entry]):
        path = base / part
        if not path.exists() and part.startswith('../'):  # Roboflow's paths start one too high
            path = base / part[3:]
        if path.is_dir():
            images += find_images(path)
        elif path.is_file():
            lines = map(str.strip, path.read_text(encoding='utf-8').splitlines())
            images += [path.parent / line for line in lines if line]
        else:
            siblings = path.parent.iterdir() if path.parent.is_dir() else ()
            hint = did_you_mean(path.name, (sibling.name for sibling in siblings))
            raise UserError(f'{place}, but there is no {path}.{hint}')
    if not images:
        raise UserError(f'{place}, but no images are there ({", ".join(IMAGES)}).')
    return images


def _label(image: Path) -> Path:
    parts = list(image.with_suffix('.txt').parts)
    if 'images' in parts:
        parts[len(parts) - 1 - parts[::-1].index('images')] = 'labels'
    return Path(*parts)


def _read(classes: list[str], label: Path, size: Size) -> list[dict[str, Any]]:
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    objects = []
    for number, line in enumerate(label.read_text(encoding='utf-8').splitlines(), 1):
        values = line.split()
        if not values:
            continue
        try:
            found = yolo_annotations_to_detections([line], size, with_masks=False)
        except ValueError as error:
            raise ValueError(f'line {number}: {error}') from error
        index = int(found.class_id[0])
        if not 0 <= index < len(classes):
            raise ValueError(
                f'line {number}: class {index}, but there are the classes 0 to '
                f'{len(classes) - 1}: {listed(classes, 10)}'
            )
        pairs = (len(values) - 1) // 2  # a confidence or the id of a track may follow
        points = np.array(values[1 : 1 + 2 * pairs], float).reshape(pairs, 2)
        if points.min() < -TOLERANCE or points.max() > 1 + TOLERANCE:
            raise ValueError(
                f'line {number}: "{line.strip()}", but what follows the class should '
                'be fractions of the image, from 0 to 1'
            )
        polygon = points * size if pairs > 2 else None
        objects.append(coco_object(classes[index], found.xyxy[0], size=size, polygon=polygon))
    return objects
