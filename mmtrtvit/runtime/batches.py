"""Batches of images of one size, with those that cannot be used in their places."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import cv2

from ..errors import UserError
from .results import BadImage

Item = TypeVar('Item')


def batches(
    items: Iterable[Item | BadImage], size: int, *, shape_of: Callable[[Item], Any]
) -> Iterator[list[Item | BadImage]]:
    """Groups consecutive images of one shape, with the bad ones among them.

    Args:
        items: Images, prepared for a model.
        size: Most items of a batch.
        shape_of: Returns the shape of an image.
    """
    batch: list[Item | BadImage] = []
    shape = None
    for item in items:
        if not isinstance(item, BadImage):
            if batch and shape not in (None, shape_of(item)):
                yield batch
                batch = []
            shape = shape_of(item)
        batch.append(item)
        if len(batch) >= size:
            yield batch
            batch, shape = [], None
    if batch:
        yield batch


def predict_batches(
    items: Iterable[Item | BadImage],
    size: int,
    *,
    shape_of: Callable[[Item], Any],
    infer: Callable[[list[Item]], Sequence[Any]],
) -> Iterator[Any]:
    """Predicts batch by batch.

    Args:
        items: As for :func:`batches`.
        size: As for :func:`batches`.
        shape_of: As for :func:`batches`.
        infer: Returns a result for each image of a batch.

    Yields:
        A result for each image in their order; the bad ones as they came.
    """
    for batch in batches(items, size, shape_of=shape_of):
        good = [item for item in batch if not isinstance(item, BadImage)]
        results = iter(infer(good) if good else ())
        yield from (item if isinstance(item, BadImage) else next(results) for item in batch)


def or_bad(function: Callable, *arguments: Any) -> Any:
    """Returns what a function returns, or a :class:`BadImage` if it cannot be done."""
    try:
        return function(*arguments)
    except UserError as error:
        return BadImage(str(error))
    except MemoryError:
        return BadImage('it takes more memory than there is.')
    except cv2.error as error:
        if error.code != cv2.Error.StsNoMem:
            raise
        return BadImage('it takes more memory than there is.')
