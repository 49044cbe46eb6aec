"""Hints: what a training may find hard in sound data."""

from collections.abc import Iterator, Mapping, Sequence

from ...annotations.findings import Place, Split
from ...annotations.problems import LEAST_OBJECTS, LEAST_PIXELS, Problem
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
    yield from ((Problem.SMALL_OBJECTS, place) for place in _shares(sizes.small, sizes))
    for place in _shares(sizes.unfit or {}, sizes):
        yield Problem.UNFIT_OBJECTS, f'{place}, IoU < {sizes.least:g}'


def _shares(counts: Mapping[str, int], sizes: Sizes) -> Iterator[str]:
    for name, count in counts.items():
        if count:
            total = sizes.objects[name]
            yield f'{name}: {count:,} of {total:,} ({count / total:.2%})'
