"""Exports of Label Studio in its own format: a JSON file for all images, with parts in percent."""

import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from ...errors import UserError
from ...files import read_json
from ..convert import LabelFiles, Size, coco_object
from ..images import by_tail, find_images
from .polygons import ellipse

UPLOAD = re.compile(r'^[0-9a-f]{8}-')  # what the name of an uploaded image begins with


def find_label_studio(source: str | Path) -> LabelFiles:
    """Finds the images of an export of Label Studio.

    Args:
        source: The JSON file. The images lie anywhere in its folder.

    Raises:
        UserError: If there is no such file, it is of another kind, or lists an image that is not
            there.
    """
    file = Path(source).absolute()
    if not file.is_file():
        raise UserError(f'there is no file {file}, which Label Studio exports as "JSON".')
    tasks = _load(file)
    find = by_tail(find_images(file.parent))
    pairs, missing = [], []
    for task in tasks:
        names = [value for value in task['data'].values() if isinstance(value, str)]
        found = next(filter(None, (_find(name, find) for name in names)), None)
        if found is None:
            missing.append(names[0] if names else f'that of task {task.get("id")}')
        else:
            pairs.append((found, task))
    if missing:
        raise UserError(
            f'{file}: {len(missing)} of {len(tasks)} images are not below {file.parent}, or more '
            f'than once, such as {missing[0]}. Put the images there.'
        )
    notes: Counter[str] = Counter()
    return LabelFiles(
        file.parent,
        dict(train=pairs),
        partial(_read, notes),
        no_val=f'{file} has no splits, so there are no images for val.',
        notes=notes,
    )


def _load(file: Path) -> list[dict[str, Any]]:
    try:
        tasks = read_json(file)
    except ValueError as error:
        raise UserError(f'{file} {error}') from error
    if not isinstance(tasks, list) or not tasks or not all(map(_is_task, tasks)):
        raise UserError(
            f'{file} is no export of Label Studio as "JSON": each of its tasks should have data '
            'and annotations. Choose that export, not JSON-MIN.'
        )
    return tasks


def _is_task(task: Any) -> bool:
    return (
        isinstance(task, dict)
        and isinstance(task.get('data'), dict)
        and isinstance(task.get('annotations'), list)
    )


def _find(name: str, find: Any) -> Path | None:
    """Returns an image by its address in Label Studio, which knows where it was uploaded from."""
    path = unquote(name.rpartition('?d=')[2] or name)
    folder, slash, base = path.rpartition('/')
    return find(path) or find(f'{folder}{slash}{UPLOAD.sub("", base)}')


def _read(notes: Counter[str], task: dict[str, Any], size: Size) -> list[dict[str, Any]]:
    try:
        return _objects(notes, task, size)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"annotations of another form than Label Studio's: {error!r}") from error


def _objects(notes: Counter[str], task: dict[str, Any], size: Size) -> list[dict[str, Any]]:
    done = [each for each in task['annotations'] if not each.get('was_cancelled')]
    if len(done) > 1:
        notes['of several annotations of an image, the first one is taken'] += 1
    objects = []
    for part in done[0]['result'] if done else ():
        kind = part['type']
        if kind not in _SHAPES:
            notes[f'{kind} is left out: it is neither a box nor a polygon'] += 1
            continue
        given = (part['original_width'], part['original_height'])
        if given != size:
            raise ValueError(
                f'annotated with {given[0]} x {given[1]} pixels, but it has {size[0]} x {size[1]}'
            )
        found = _SHAPES[kind](part['value'], np.array(size) / 100)
        for name in part['value'][kind]:
            objects.append(coco_object(str(name).strip(), size=size, **found))
    return objects


def _rectangle(value: dict[str, Any], scale: np.ndarray) -> dict[str, Any]:
    """Returns a box; one that is turned, about its first corner and clockwise, as a polygon."""
    corner = np.array([value['x'], value['y']]) * scale
    sides = np.array([value['width'], value['height']]) * scale
    turn = np.deg2rad(value.get('rotation') or 0)
    if not turn:
        return dict(box=np.array([*corner, *corner + sides]))
    across = np.array([np.cos(turn), np.sin(turn)]) * sides[0]
    down = np.array([-np.sin(turn), np.cos(turn)]) * sides[1]
    return dict(
        polygons=[np.array([corner, corner + across, corner + across + down, corner + down])]
    )


def _polygon(value: dict[str, Any], scale: np.ndarray) -> dict[str, Any]:
    return dict(polygons=[np.array(value['points'], float).reshape(-1, 2) * scale])


def _ellipse(value: dict[str, Any], scale: np.ndarray) -> dict[str, Any]:
    center = np.array([value['x'], value['y']]) * scale
    radii = np.array([value['radiusX'], value['radiusY']]) * scale
    return dict(polygons=[ellipse(center, radii, value.get('rotation') or 0)])


_SHAPES = {'rectanglelabels': _rectangle, 'polygonlabels': _polygon, 'ellipselabels': _ellipse}
