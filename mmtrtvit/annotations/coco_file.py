"""Annotation files in COCO format, in the encodings that tools write them in."""

from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_json

LISTS = 'images', 'annotations', 'categories'


def read_coco(file: str | Path) -> dict[str, list[dict]]:
    """Reads an annotation file in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    Returns:
        Its content, where ``images``, ``annotations`` and ``categories`` are lists of dicts. A file
        without ``annotations``, as test images have it, gets an empty list.

    Raises:
        UserError: If the file cannot be read, is not JSON, or lacks one of the lists.
    """
    file = Path(file)
    try:
        content = read_json(file)
    except OSError as error:
        raise UserError(f'{file} cannot be read: {error.strerror}.') from error
    except ValueError as error:
        raise UserError(f'{file} {error}') from error
    if not isinstance(content, dict):
        raise UserError(
            f'{file} is not in COCO format: it has no list of {LISTS[0]}, but is a '
            f'{type(content).__name__} itself.'
        )
    content.setdefault('annotations', [])
    for key in LISTS:
        entries = content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            found = f'there is a {type(entries).__name__}' if key in content else 'there is none'
            if isinstance(entries, list):
                found = 'not all in the list are dictionaries'
            raise UserError(
                f'{file} is not in COCO format: it has no list of {key} ({found}). Expected '
                f'"{key}": [{{"id": ...}}, ...]'
            )
    return content


def merge_categories(content: dict[str, list[dict]]) -> list[str]:
    """Makes one category of those that share a name, as Roboflow's root and its only class do.

    Of these, the first one that annotations have stays, and the annotations of the others get its
    id.

    Args:
        content: Of an annotation file; changed in place.

    Returns:
        The names that several categories had.
    """
    categories = content['categories']
    used = {
        key
        for annotation in content['annotations']
        if isinstance(key := annotation.get('category_id'), int | float | str)
    }
    ids: dict[Any, list] = {}
    for category in categories:
        name, key = category.get('name'), category.get('id')
        if isinstance(name, str) and isinstance(key, int | float | str):
            ids.setdefault(name, []).append(key)
    new = {}
    for keys in ids.values():
        kept = next((key for key in keys if key in used), keys[0])
        new.update({key: kept for key in keys if key != kept})
    twice = [
        name
        for name, count in Counter({name: len(k) for name, k in ids.items()}).items()
        if count > 1
    ]
    if new:
        content['categories'] = [
            each for each in categories if _hashable(each.get('id')) not in new
        ]
        for annotation in content['annotations']:
            key = _hashable(annotation.get('category_id'))
            if key in new:
                annotation['category_id'] = new[key]
    return twice


def _hashable(key: Any) -> Any:
    return key if isinstance(key, int | float | str) else None
