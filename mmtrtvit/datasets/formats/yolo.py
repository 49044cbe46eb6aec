"""YOLO data sets: class names, and a label file per image, with boxes or polygons.

What names the classes and images is a ``data.yaml`` as of Ultralytics, an ``obj.data`` as of
Darknet and CVAT, or a ``classes.txt`` as of Label Studio.

The ``supervision`` library parses the lines. Polygons are taken over point by point, not through
its masks: those are rounded to pixels, cut at the border, arrays as large as the image for each
object, and an object of two parts would come out as a crowd, which MMDetection does not train.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ...errors import UserError, did_you_mean, listed
from ...files import read_text
from ...media import IMAGES
from ...plain_yaml import PlainLoader
from ..convert import SPLIT_NAMES, LabelFiles, Size, coco_object
from ..images import find_images, is_hidden, resolve

TOLERANCE = 0.01  # of the image, for labels that were rounded outwards
KEYPOINTS_LEFT_OUT = 'keypoints are left out: only boxes and polygons are converted'


def find_yolo(source: str | Path) -> LabelFiles:
    """Finds the images and label files of a YOLO data set.

    A label file lies beside its image, or where ``labels`` stands for the last ``images`` in its
    path.

    Args:
        source: The folder of ``data.yaml``, ``obj.data`` or ``classes.txt``, or such a file.

    Raises:
        UserError: If that file is missing, does not name classes and images of train, or names
            what does not exist.
    """
    file = _description(Path(source).absolute())
    content = _READERS.get(file.suffix.lower(), _load_yaml)(file)
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
    lines = {
        '.data': ' It should have lines like "train = train.txt" and "valid = valid.txt".',
        '.txt': '',
    }.get(file.suffix, ' It should have lines like "train: images/train" and "val: images/val".')
    no_images = f'{file} names no images for {" and ".join(missing)}.{lines}'
    if 'train' in missing:
        raise UserError(no_images)
    keypoints = 'kpt_shape' in content
    files = LabelFiles(base, splits, partial(_read, classes, keypoints), classes, no_val=no_images)
    if keypoints:
        files.notes[KEYPOINTS_LEFT_OUT] += 1
    return files


def _description(source: Path) -> Path:
    """Returns the file that names the classes and images."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise UserError(f'no folder {source}.')
    there = sorted(path for path in source.iterdir() if not is_hidden(Path(path.name)))
    files = [path for path in there if path.suffix.lower() in ('.yaml', '.yml')]
    likely = [path for path in files if path.stem == 'data'] or files
    likely = likely or [path for path in there if path.suffix == '.data']
    likely = likely or [path for path in there if path.name == 'classes.txt']
    if len(likely) != 1:
        others = f' Name one of these instead: {", ".join(map(str, likely))}.' if likely else ''
        raise UserError(
            f'{source} has no data.yaml, which names the classes (names) and the '
            'folders of the images (train, val) of a YOLO data set, nor an obj.data or '
            f'classes.txt in its place.{others}'
        )
    return likely[0]


def _load_yaml(file: Path) -> dict[str, Any]:
    text = _text(file)
    try:
        content = yaml.load(text, PlainLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of the loader, or of a wrong date
        raise UserError(f'{file} cannot be read as YAML: {error}') from error
    if not isinstance(content, dict):
        raise UserError(f'{file} should have the keys names, train and val.')
    return content


def _load_darknet(file: Path) -> dict[str, Any]:
    lines = (line.partition('=') for line in _text(file).splitlines())
    content = {key.strip(): value.strip() for key, equals, value in lines if equals}
    names = resolve(content.get('names') or 'obj.names', [file.parent])
    if not names:
        raise UserError(f'{file} has names = {content.get("names")}, but there is no such file.')
    return dict(content, names=_lines(names))


def _load_classes(file: Path) -> dict[str, Any]:
    """Reads a list of classes beside folders images and labels, as Label Studio exports it."""
    return dict(names=_lines(file), train='images')


_READERS = {'.data': _load_darknet, '.txt': _load_classes}


def _text(file: Path) -> str:
    try:
        return read_text(file)
    except OSError as error:
        raise UserError(f'{file} cannot be read: {error.strerror}.') from error
    except ValueError as error:
        raise UserError(f'{file} {error}') from error


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in _text(file).splitlines() if line.strip()]


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
        path = resolve(part, [base])
        if path is None:
            path = base / part
            siblings = path.parent.iterdir() if path.parent.is_dir() else ()
            hint = did_you_mean(path.name, (sibling.name for sibling in siblings))
            raise UserError(f'{place}, but there is no {path}.{hint}')
        if path.is_dir():
            images += find_images(path)
        elif path.suffix.lower() in IMAGES:
            images.append(path)
        else:
            folders = [path.parent, base]
            images += [resolve(line, folders) or path.parent / line for line in _lines(path)]
    images = [image for image in images if not is_hidden(Path(image.name))]
    if not images:
        raise UserError(f'{place}, but no images are there ({", ".join(IMAGES)}).')
    return images


def _label(image: Path) -> Path:
    parts = list(image.with_suffix('.txt').parts)
    if 'images' in parts:
        parts[len(parts) - 1 - parts[::-1].index('images')] = 'labels'
    return Path(*parts)


def _read(classes: list[str], keypoints: bool, label: Path, size: Size) -> list[dict[str, Any]]:
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    objects = []
    for number, line in enumerate(read_text(label).splitlines(), 1):
        values = line.split()
        if not values:
            continue
        if keypoints:  # they follow the box
            values = values[:5]
            line = ' '.join(values)
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
        polygons = [points * size] if pairs > 2 else ()
        objects.append(coco_object(classes[index], found.xyxy[0], size=size, polygons=polygons))
    return objects
