"""What a report tells of a segmentor."""

import numpy as np

from .blocks import Section, Table
from .confusion import show_confusion
from .evaluation import Evaluation
from .findings import Findings, Ranking, number, ranked, shuffled
from .label_maps import PixelAnalysis, analyse_pixels, iou_of


def find_label_maps(evaluation: Evaluation) -> Findings:
    """Returns what there is to tell of a segmentor.

    Args:
        evaluation: Its evaluation.
    """
    analysis, names = analyse_pixels(evaluation), evaluation.legend.names
    sections = [
        Section('classes', 'Classes', [_classes(analysis.confusion, names)]),
        Section('confusion', 'Confusion', show_confusion(analysis.confusion, names, 'pixels')),
    ]
    return Findings(
        sections,
        _rankings(analysis, names),
        captions=lambda index: _captions(analysis, index),
        quality=analysis.ious,
        measure='IoU',
        of_classes=dict(zip(names, map(float, iou_of(analysis.confusion)))),
    )


def _classes(confusion: np.ndarray, names: tuple[str, ...]) -> Table:
    right, there, found = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    iou = iou_of(confusion)
    with np.errstate(invalid='ignore'):
        columns = iou, right / there, right / found, 2 * right / (there + found)
    rows = [
        [name, f'{there[label]:,}', *(number(column[label]) for column in columns)]
        for label, name in enumerate(names)
    ]
    means = [number(float(np.nanmean(column))) for column in columns]
    head = ['class', 'pixels', 'IoU', 'recall', 'precision', 'F1']
    return Table([head, *rows], [['mean of the classes', f'{there.sum():,}', *means]])


def _rankings(analysis: PixelAnalysis, names: tuple[str, ...]) -> list[Ranking]:
    used = ~np.isnan(analysis.ious)
    rankings = [
        Ranking('worst', 'Worst', 'least mean IoU first', ranked(-analysis.ious, used)),
        Ranking('best', 'Best', 'greatest mean IoU first', ranked(analysis.ious, used)),
        Ranking('random', 'Random', 'drawn by chance', shuffled(len(used))),
    ]
    if analysis.worst is not None:
        truth, found = (names[label] for label in analysis.worst)
        text = f'most pixels of {truth} that were taken for {found} first'
        order = ranked(analysis.mistaken, analysis.mistaken > 0)
        rankings.insert(1, Ranking('confusing', 'Most confusing', text, order))
    return rankings


def _captions(analysis: PixelAnalysis, index: int) -> list[str]:
    iou = number(float(analysis.ious[index]))
    return [f'mean IoU {iou}, {analysis.accuracies[index]:.1%} of the pixels right']
