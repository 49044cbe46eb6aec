"""Annotations in COCO format: the ids that they give to images and categories."""

import json
import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import UserError, did_you_mean
from ..media import Medium

Parts = tuple[str, ...]


@dataclass(frozen=True)
class Annotations:
    """Images and categories of a data set; :func:`read_annotations` reads them.

    No number is ever made up: what is not listed has none, and what could have two is an error.

    Attributes:
        path: The file.
        images: Numbers by the parts of the file name: ``('train', 'a.jpg')``.
        categories: Numbers by name.
    """

    path: Path
    images: Mapping[Parts, Sequence[Hashable]]
    categories: Mapping[str, Sequence[Hashable]]

    def image_ids(self, media: Iterable[Medium]) -> dict[Medium, Hashable]:
        """Returns the numbers of those images that are listed.

        An image is the one whose listed name, with all its folders, ends its path: ``train/a.jpg``
        is ``/data/train/a.jpg``, but not ``/data/a.jpg``. Of several such names the longest counts.

        Raises:
            UserError: If none of the images is listed, or one could be two of those listed, or two
                could be one.
        """
        media = list(media)
        found: dict[Parts, Medium] = {}
        for medium in media:
            parts = self._listed(medium)
            if parts is None:
                continue
            if parts in found:
                raise UserError(
                    f'{found[parts]} and {medium} could both be {"/".join(parts)} in {self.path}. '
                    'Give the one that is meant.'
                )
            found[parts] = medium
            if len(self.images[parts]) > 1:
                raise UserError(
                    f'{self.path} lists {"/".join(parts)} more than once, with the ids '
                    f'{_listing(self.images[parts])}, so {medium} could be any of them. Remove '
                    'all but one.'
                )
        if not found:
            raise UserError(self._nothing_listed(media))
        return {medium: self.images[parts][0] for parts, medium in found.items()}

    def category_ids(self, names: Sequence[str]) -> list[Hashable]:
        """Returns the numbers of a model's classes, by label.

        Raises:
            UserError: If a class is not listed, or more than once.
        """
        if not names:
            raise UserError(
                f'the model has no names of classes, so they cannot be found in {self.path}.'
            )
        missing = [name for name in names if name not in self.categories]
        if missing:
            raise UserError(
                f'{self.path} has no category {missing[0]!r}, which the model has.'
                f'{did_you_mean(missing[0], self.categories)} Missing are {_listing(missing)}; '
                f'listed are {_listing(list(self.categories))}.'
            )
        for name in names:
            if len(self.categories[name]) > 1:
                raise UserError(
                    f'{self.path} has the category {name!r} more than once, with the ids '
                    f'{_listing(self.categories[name])}. Remove all but one.'
                )
        return [self.categories[name][0] for name in names]

    def _listed(self, medium: Medium) -> Parts | None:
        if not medium.is_image:
            return None
        parts = Path(os.path.abspath(str(medium.source))).parts
        endings = (parts[start:] for start in range(len(parts)))
        return next((ending for ending in endings if ending in self.images), None)

    def _nothing_listed(self, media: Sequence[Medium]) -> str:
        listed = ['/'.join(parts) for parts in self.images]
        return (
            f'{self.path} lists none of the inputs. Listed are {_listing(listed)}; the inputs are '
            f'{_listing([str(medium) for medium in media])}. A listed name must end the path of '
            'its image, with all its folders.'
        )


def read_annotations(path: str | Path) -> Annotations:
    """Reads the numbers of images and categories from COCO annotations.

    Of several categories with one name, as Roboflow writes them, those without any object are left
    out.

    Raises:
        UserError: If there is no such file, or it does not hold COCO annotations.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read as COCO annotations: {error}') from error
    images: dict[Parts, list] = defaultdict(list)
    for name, number in _named(content, 'images', 'file_name', path):
        images[PurePosixPath(name.replace('\\', '/')).parts].append(number)
    categories: dict[str, list] = defaultdict(list)
    for name, number in _named(content, 'categories', 'name', path):
        categories[name].append(number)
    annotations = content.get('annotations')
    objects = annotations if isinstance(annotations, list) else []
    used = [each.get('category_id') for each in objects if isinstance(each, dict)]
    for name, numbers in categories.items():
        if len(numbers) > 1:
            categories[name] = [number for number in numbers if number in used] or numbers
    return Annotations(path, dict(images), dict(categories))


def _named(content: Any, kind: str, key: str, path: Path) -> list[tuple[str, Hashable]]:
    """Returns names and ids of a list of objects."""
    items = content.get(kind) if isinstance(content, dict) else None
    if not isinstance(items, list):
        raise UserError(f'{path} has no list {kind!r}, as COCO annotations have it.')
    for item in items:
        if not (
            isinstance(item, dict)
            and isinstance(item.get(key), str)
            and isinstance(item.get('id'), int | float | str)
        ):
            raise UserError(
                f'{path}: {kind} holds {str(item)[:200]}, expected an object with {key!r} and '
                "'id', as COCO annotations have it."
            )
    return [(item[key], item['id']) for item in items]


def _listing(values: Sequence[Any], most: int = 5) -> str:
    """Returns the first values, and how many more there are."""
    more = [f'{len(values) - most} more'] if len(values) > most else []
    return ', '.join([*map(str, values[:most]), *more])
