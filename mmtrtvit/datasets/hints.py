"""Hints: what a training may find hard in sound data."""

from collections.abc import Iterator, Mapping, Sequence

from ..annotations.findings import Place, Split
from ..annotations.problems import LEAST_OBJECTS, LEAST_PIXELS, Problem
from .sizes import Sizes


def find_hints(splits: Sequence[Split], sizes: Mapping[str, Sizes]) -> Iterator[Place]:
    """Yields the hints about splits; equal splits' once.

    Args:
        splits: The splits.
        sizes: Those of each, by its name.
    """
    for split in splits:
        if split.name in sizes:
            yield from ((split.name, *hint) for hint in _hints(split, sizes[split.name]))


def _hints(split: Split, sizes: Sizes) -> Iterator[tuple[Problem, str]]:
    if sizes.pixels:
        for name, count in sizes.pixels.items():
            if 0 < count < LEAST_PIXELS:
                yield Problem.FEW_PIXELS, f'{name} ({count:,.0f})'
        return
    for name, count in split.counts.items():
        if 0 < count < LEAST_OBJECTS:
            yield Problem.FEW_OBJECTS, f'{name} ({count})'
    total = len(sizes.sides)
    if sizes.small:
        yield Problem.SMALL_OBJECTS, share(sizes.small, total)
    if sizes.unfit:
        yield Problem.UNFIT_OBJECTS, f'{share(sizes.unfit, total)}, IoU < {sizes.least:g}'


def share(count: int, total: int) -> str:
    """Returns a count with its share, e.g. ``12 of 2,804 (0.43%)``."""
    return f'{count:,} of {total:,} ({count / total:.2%})'
