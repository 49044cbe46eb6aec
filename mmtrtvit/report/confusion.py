"""Confusion matrices: counting, and showing them."""

from collections.abc import Sequence

import numpy as np

from .blocks import Block, Table, Text
from .plots import plot_matrix

MOST_CLASSES = 25  # of a table; a larger matrix is a figure
MOST_PAIRS = 10


def count_pairs(truth: np.ndarray, found: np.ndarray, count: int) -> np.ndarray:
    """Counts what is taken for what.

    Args:
        truth: Class index of each thing.
        found: What it was taken for, of the same shape.
        count: Number of classes.

    Returns:
        ``(C, C)``: row of the truth, column of what was found.
    """
    pairs = truth.astype(np.int64).ravel() * count + found.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def shares_of(matrix: np.ndarray) -> np.ndarray:
    """Returns a matrix of counts whose rows sum to 1, or are 0."""
    return matrix / np.maximum(matrix.sum(1, keepdims=True), 1)


def show_confusion(matrix: np.ndarray, names: Sequence[str], unit: str) -> list[Block]:
    """Shows a matrix, normalised and raw, and what is taken for what most often.

    Args:
        matrix: ``(C, C)``: row of the truth, column of what was found.
        names: Of the rows and columns.
        unit: What was counted.
    """
    shares = shares_of(matrix)
    blocks: list[Block] = [
        Text('Rows are the truth, columns what was found.', quiet=True),
    ]
    if len(names) > MOST_CLASSES:
        blocks.append(plot_matrix(shares, 'share of each class'))
    else:
        cells = [[f'{share:.0%}' if share else '' for share in row] for row in shares]
        blocks.append(_table(cells, names, shares, 'share of each class'))
        raw = [[f'{count:,}' if count else '' for count in row] for row in matrix]
        blocks.append(_table(raw, names, shares, unit))
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind='stable')[:MOST_PAIRS]
    worst = [divmod(int(place), len(names)) for place in order if wrong.flat[place]]
    if worst:
        rows = [
            [
                f'{names[row]} → {names[column]}',
                f'{wrong[row, column]:,}',
                f'{shares[row, column]:.1%}',
            ]
            for row, column in worst
        ]
        blocks.append(Table([['truth → found', unit, 'of that class'], *rows], title='most often'))
    return blocks


def _table(cells: list[list[str]], names: Sequence[str], shares: np.ndarray, title: str) -> Table:
    rows = [['', *names], *([name, *row] for name, row in zip(names, cells))]
    return Table(rows, title=title, shades=shares.tolist())
