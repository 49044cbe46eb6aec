"""What a report tells of a detector."""

import numpy as np

from .blocks import Section, Table, Text
from .confusion import show_confusion
from .evaluation import Evaluation
from .findings import BEST_HEAD, BEST_TEXT, Findings, Ranking, best_cells, number, ranked, shuffled
from .objects import MATCH, MEANING, ObjectAnalysis, above, analyse_objects, best_scores
from .plots import plot_precision_recall

WORDS = {'bbox': 'box', 'segm': 'mask'}


def find_objects(evaluation: Evaluation) -> Findings:
    """Returns what there is to tell of a detector.

    Args:
        evaluation: Its evaluation.
    """
    analysis = analyse_objects(evaluation)
    names = [*evaluation.legend.names, 'background']
    what = {'bbox': 'boxes', 'segm': 'masks'}[analysis.kind]
    curves = {each.name: each.curve for each in analysis.classes}
    sections = [
        Section('classes', 'Classes', [_classes(analysis)]),
        Section(
            'precision',
            'Precision and recall',
            [
                *plot_precision_recall(curves, 'objects'),
                Table([['class', *BEST_HEAD], *([n, *best_cells(c)] for n, c in curves.items())]),
                Text(f'What is found matches an object if their {what} have an IoU of {MATCH}.'),
                Text(BEST_TEXT, quiet=True),
            ],
        ),
        Section(
            'confusion',
            'Confusion',
            [
                Text(
                    'Objects at the best thresholds: the row "background" is what was found where '
                    'no object is, the column "background" what was not found.'
                ),
                *show_confusion(analysis.confusion, names, 'objects'),
            ],
        ),
        Section('errors', 'Kinds of errors', [_errors(analysis)]),
    ]
    thresholds = best_scores(analysis.classes)
    return Findings(
        sections,
        _rankings(analysis),
        captions=lambda index: _captions(analysis, index),
        quality=np.array([image.f1 for image in analysis.images]),
        measure=f'{WORDS[analysis.kind]} AP',
        of_classes={each.name: each.ap[analysis.kind][0] for each in analysis.classes},
        shown=lambda found: above(found, thresholds),
    )


def _classes(analysis: ObjectAnalysis) -> Table:
    kinds = list(analysis.classes[0].ap) if analysis.classes else []
    head = ['class', 'objects']
    head += [f'{WORDS[kind]} AP{at}' for kind in kinds for at in ('', ' at 0.5')]
    rows = [
        [
            each.name,
            f'{each.count:,}',
            *(number(value) for kind in kinds for value in each.ap[kind]),
        ]
        for each in analysis.classes
    ]
    total = sum(each.count for each in analysis.classes)
    means = [number(analysis.mean_ap(kind, which)) for kind in kinds for which in (0, 1)]
    return Table([head, *rows], [['mean of the classes', f'{total:,}', *means]])


def _errors(analysis: ObjectAnalysis) -> Table:
    total = analysis.errors.total()
    rows = [
        [kind, f'{count:,}', f'{count / total:.0%}' if total else '-', meaning]
        for kind, meaning in MEANING.items()
        for count in [analysis.errors[kind]]
    ]
    return Table(
        [['error', 'count', 'share', 'meaning'], *rows],
        [['all', f'{total:,}', '', '']],
        title='at the best thresholds',
        words=True,
    )


def _rankings(analysis: ObjectAnalysis) -> list[Ranking]:
    images = analysis.images
    wrong = np.array([image.errors.total() for image in images])
    right = np.array([image.right for image in images])
    surest = np.array([image.surest for image in images])
    f1 = np.array([image.f1 for image in images])
    return [
        Ranking('worst', 'Worst', 'most errors first', ranked(wrong, wrong > 0)),
        Ranking(
            'confusing',
            'Most confusing',
            'the highest score of something wrong first',
            ranked(surest, surest > 0),
        ),
        Ranking(
            'best',
            'Best',
            'fewest errors for what was found first',
            ranked(f1 + right / 1e6, right > 0),
        ),
        Ranking('random', 'Random', 'drawn by chance', shuffled(len(images))),
    ]


def _captions(analysis: ObjectAnalysis, index: int) -> list[str]:
    image = analysis.images[index]
    errors = [f'{count} {kind}' for kind, count in image.errors.most_common()]
    return [f'{image.right} right' + (f'; errors: {", ".join(errors)}' if errors else '')]
