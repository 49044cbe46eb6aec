"""What a report tells of a classifier."""

import numpy as np

from .blocks import Section, Table, Text
from .confusion import show_confusion
from .evaluation import Evaluation
from .findings import BEST_HEAD, BEST_TEXT, Findings, Ranking, best_cells, number, ranked, shuffled
from .plots import plot_precision_recall
from .scores import ScoreAnalysis, analyse_scores

SHOWN = 3  # classes below an image


def find_scores(evaluation: Evaluation) -> Findings:
    """Returns what there is to tell of a classifier.

    Args:
        evaluation: Its evaluation.
    """
    analysis, names = analyse_scores(evaluation), evaluation.legend.names
    curves = dict(zip(names, analysis.curves))
    sections = [
        Section('classes', 'Classes', [_classes(analysis, names)]),
        Section(
            'precision',
            'Precision and recall',
            [
                *plot_precision_recall(curves, 'classes'),
                Table([['class', *BEST_HEAD], *([n, *best_cells(c)] for n, c in curves.items())]),
                Text(BEST_TEXT, quiet=True),
            ],
        ),
        Section('confusion', 'Confusion', show_confusion(analysis.confusion, names, 'images')),
    ]
    places = np.arange(len(analysis.truth))
    return Findings(
        sections,
        _rankings(analysis),
        captions=lambda index: _captions(analysis, names, index),
        quality=analysis.scores[places, analysis.truth],
        measure='top-1',
        of_classes=dict(zip(names, map(float, _recall(analysis)))),
    )


def _classes(analysis: ScoreAnalysis, names: tuple[str, ...]) -> Table:
    right, recall = analysis.confusion.diagonal(), _recall(analysis)
    there, found = analysis.confusion.sum(1), analysis.confusion.sum(0)
    with np.errstate(invalid='ignore'):
        precision = right / found
        f1 = 2 * right / (there + found)
    rows = [
        [
            name,
            f'{there[label]:,}',
            number(100 * recall[label])[:-1] if there[label] else '-',
            number(precision[label]),
            number(f1[label]),
        ]
        for label, name in enumerate(names)
    ]
    return Table(
        [['class', 'images', 'top-1 %', 'precision', 'F1'], *rows],
        [['all', f'{there.sum():,}', f'{analysis.top1:.2f}', '', '']],
        title='of the most likely class',
    )


def _recall(analysis: ScoreAnalysis) -> np.ndarray:
    """Share of the images of each class that are found to be of it, ``(C,)``; NaN without any."""
    with np.errstate(invalid='ignore'):
        return analysis.confusion.diagonal() / analysis.confusion.sum(1)


def _rankings(analysis: ScoreAnalysis) -> list[Ranking]:
    places = np.arange(len(analysis.truth))
    of_truth = analysis.scores[places, analysis.truth]
    of_found = analysis.scores[places, analysis.found]
    right = analysis.truth == analysis.found
    first = np.sort(analysis.scores, axis=1)[:, ::-1]
    margin = first[:, 0] - (first[:, 1] if first.shape[1] > 1 else 0)
    return [
        Ranking('worst', 'Worst', 'surest of a wrong class first', ranked(of_found, ~right)),
        Ranking(
            'confusing', 'Most confusing', 'two classes almost equally likely', ranked(-margin)
        ),
        Ranking('best', 'Best', 'surest of the right class first', ranked(of_truth, right)),
        Ranking('random', 'Random', 'drawn by chance', shuffled(len(right))),
    ]


def _captions(analysis: ScoreAnalysis, names: tuple[str, ...], index: int) -> list[str]:
    scores = analysis.scores[index]
    likely = np.argsort(-scores, kind='stable')[:SHOWN]
    found = ', '.join(f'{names[label]} {scores[label]:.2f}' for label in likely)
    verdict = 'right' if analysis.truth[index] == analysis.found[index] else 'wrong'
    return [f'{verdict}: {names[analysis.truth[index]]}', f'found: {found}']
