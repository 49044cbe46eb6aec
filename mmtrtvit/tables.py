"""Tables as text."""

import csv
import io
from collections.abc import Mapping, Sequence
from numbers import Integral, Real


def format_table(values: Mapping[str, object]) -> str:
    """Returns names and values as two aligned columns."""
    width = max(map(len, values))
    return '\n'.join(
        f'{name:<{width}}  {value:.4f}'
        if isinstance(value, Real) and not isinstance(value, Integral)
        else f'{name:<{width}}  {value}'
        for name, value in values.items()
    )


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Returns rows with equal keys as a CSV file, the keys first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def format_rows(rows: Sequence[Sequence[str]], names: int = 0) -> str:
    """Returns rows as aligned columns: numbers, and one of names.

    Args:
        rows: Equally long rows of texts.
        names: Which column begins at the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    names = range(len(widths))[names]
    return '\n'.join(
        '  '.join(
            text.ljust(width) if column == names else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )
