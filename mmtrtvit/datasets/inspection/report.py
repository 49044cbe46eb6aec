"""Report of an inspection, as text and as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...annotations.findings import Finding, Split
from ...annotations.problems import LEAST_SIDE, Problem
from ...files import write_whole
from ...tables import format_rows
from .inspecting import Inspection
from .sizes import Sizes

SHOWN_PERCENTILES = {5: '5th percentile', 50: 'median', 95: '95th percentile'}


Rows = list[list[str]]


def format_class_counts(
    title: str, columns: Mapping[str, Mapping[str, int]], below: Mapping[str, Mapping[str, int]]
) -> str:
    """Returns counts as a table of aligned columns.

    Args:
        title: What is counted.
        columns: Counts by class, by split.
        below: What stands below the sum of the classes: a row's counts by split, by its title.
    """
    return _format(*_class_rows(title, columns, below))


def _class_rows(
    title: str, columns: Mapping[str, Mapping[str, int]], below: Mapping[str, Mapping[str, int]]
) -> tuple[Rows, Rows]:
    classes = dict.fromkeys(name for column in columns.values() for name in column)
    sums = {split: sum(column.values()) for split, column in columns.items()}
    rows = [[title, *columns]]
    rows += [
        [name, *(_number(column.get(name)) for column in columns.values())] for name in classes
    ]
    feet = [
        [name, *(_number(row[split]) for split in columns)]
        for name, row in {'all classes': sums, **below}.items()
    ]
    return rows, feet


def _format(rows: Rows, feet: Rows) -> str:
    lines = format_rows([*rows, *feet]).splitlines()
    lines.insert(len(rows), '-' * max(map(len, lines)))
    return '\n'.join(lines)


def count_rows(splits: Sequence[Split]) -> tuple[Rows, Rows]:
    """Returns a table: titles and a row per class, a column per split; and the rows below it."""
    shown = [split for split in splits if not split.same_as]
    pixels = any(data.labels_of_values is not None for split in shown for data in split.data)
    below = {
        'images': {split.name: len(split.images) for split in shown},
        'without annotations': {split.name: _empty(split) for split in shown},
    }
    ignored = {split.name: sum(split.ignored.values()) for split in shown}
    if any(ignored.values()):
        below['ignored instances'] = ignored
    return _class_rows(
        'pixels of class' if pixels else 'instances of class',
        {split.name: split.counts for split in shown},
        below,
    )


def same_lines(splits: Sequence[Split]) -> list[str]:
    """Returns a line about each split that has the data of another one."""
    return [f'{split.name}: the same data as {split.same_as}' for split in splits if split.same_as]


def format_counts(splits: Sequence[Split]) -> str:
    """Returns a table: a row per class, a column per split, images and empty ones below."""
    return '\n'.join([_format(*count_rows(splits)), *same_lines(splits)])


def size_rows(sizes: Mapping[str, Sizes]) -> Rows:
    """Returns a table: what a model sees of each split after the resizing of its config.

    It is empty where there are neither objects nor label maps.
    """
    columns = list(sizes.values())
    if not any(len(each.sides) or each.pixels for each in columns):
        return []
    rows = [['after resizing', *sizes], ['images', *(str(each.resizing) for each in columns)]]
    if any(each.pixels for each in columns):
        names = dict.fromkeys(name for each in columns for name in each.shares)
        return rows + [
            [f'pixels of {name}', *(_percent(each.shares.get(name)) for each in columns)]
            for name in names
        ]
    rows += [
        [f'side of an object, {title}', *(_side(each.percentiles.get(at)) for each in columns)]
        for at, title in SHOWN_PERCENTILES.items()
    ]
    rows.append([f'under {LEAST_SIDE} pixels', *(_of(each.small, each) for each in columns)])
    if any(each.unfit is not None for each in columns):
        rows.append(['no anchor fits', *(_of(each.unfit, each) for each in columns)])
    return rows


def write_findings(inspection: Inspection, path: str | Path) -> Path:
    """Writes counts and all findings as JSON."""
    content = {
        'splits': {
            split.name: {
                'same_as': split.same_as,
                'images': len(split.images),
                'without_annotations': _empty(split),
                'counts': split.counts,
            }
            for split in inspection.splits
        },
        'sizes': {name: _size_values(sizes) for name, sizes in inspection.sizes.items()},
        'findings': [*map(_finding_values, inspection.findings)],
        'hints': [*map(_finding_values, inspection.hints)],
    }
    write_whole(path, json.dumps(content, indent=1))
    return Path(path)


def _finding_values(finding: Finding) -> dict[str, Any]:
    return {
        'severity': finding.problem.severity,
        'split': finding.split,
        'problem': finding.problem.text,
        'places': finding.places,
    }


def _size_values(sizes: Sizes) -> dict[str, Any]:
    values: dict[str, Any] = {'resizing': str(sizes.resizing)}
    if sizes.pixels:
        return values | {'shares': sizes.shares}
    return values | {
        'objects': sizes.objects,
        'percentiles_of_side': sizes.percentiles,
        'small': sizes.small,
        'unfit': sizes.unfit,
    }


def _empty(split: Split) -> int:
    return sum(
        problem is Problem.EMPTY_IMAGE for image in split.images for problem, _ in image.problems
    )


def _number(count: int | None) -> str:
    return '' if count is None else f'{count:,}'


def _percent(share: float | None) -> str:
    return '' if share is None else f'{share:.2%}'


def _side(side: float | None) -> str:
    return '' if side is None else f'{side:.0f}'


def _of(counts: Mapping[str, int] | None, sizes: Sizes) -> str:
    total = len(sizes.sides)
    count = sum((counts or {}).values())
    return '' if counts is None or not total else f'{count:,} ({count / total:.2%})'
