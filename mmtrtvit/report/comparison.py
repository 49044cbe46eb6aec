"""A page about several runs beside each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis.curves import Series, read_scalars
from ..errors import UserError
from ..paths import shortest_names
from .blocks import Block, Pictures, Section, Table, Text
from .collecting import evaluate_samples
from .evaluation import CLASSES, Evaluation
from .findings import Findings, number, ranked
from .page import FINDERS, IMAGES, check_images, write_page
from .pictures import show_colors, show_sample
from .plots import plot_series
from .run import Run, find_run

LONG = 80  # letters of a value of a config that a page shows
UNLIKE = 'work_dir', 'experiment_name', 'log_level', 'resume', 'launcher'  # of any two runs


@dataclass
class Compared:
    """A run with what was found.

    Attributes:
        name: How the page calls it.
        run: The run.
        evaluation: Its evaluation.
        findings: What that tells.
    """

    name: str
    run: Run
    evaluation: Evaluation
    findings: Findings


def compare(
    work_dirs: Sequence[str | Path],
    *,
    options: Mapping[str, Any] | None = None,
    images: int = IMAGES,
    out: str | Path | None = None,
) -> tuple[Path, dict[str, Evaluation]]:
    """Writes a page on runs beside each other: metrics, configs, curves, classes, images.

    Args:
        work_dirs: Folders that trainings wrote; gains are those of the last over the first.
        options: Values of all configs by dotted key.
        images: Images that gained most, and as many that lost most.
        out: The file; default: ``comparison.html`` in the last folder.

    Returns:
        The file, and the evaluations by the names of the runs.

    Raises:
        UserError: If a run cannot be evaluated, or two are of other tasks or classes.
    """
    check_images(images)
    runs = [find_run(folder, options=options) for folder in work_dirs]
    compared = []
    for name, run in zip(names_of(work_dirs), runs):
        evaluation = evaluate_samples(run.config, run.checkpoint, run.folder / 'report')
        compared.append(Compared(name, run, evaluation, FINDERS[evaluation.task](evaluation)))
        _check_alike(compared[0], compared[-1])
    sections = [
        _summary(compared),
        Section('configs', 'Configs', [_configs(compared)]),
        Section('training', 'Training', _curves(compared)),
        Section('classes', 'Classes', [_classes(compared)]),
        Section('images', 'Images', _images(compared, images)),
    ]
    names = [each.name for each in compared]
    path = write_page(' and '.join(names), sections, out or runs[-1].folder / 'comparison.html')
    return path, {each.name: each.evaluation for each in compared}


def names_of(work_dirs: Sequence[str | Path]) -> list[str]:
    """Returns the names of folders, with those of as many folders above as tell them apart.

    Raises:
        UserError: If a folder is named twice.
    """
    paths = [Path(folder).expanduser().resolve() for folder in work_dirs]
    if len(set(paths)) < len(paths):
        raise UserError('a run beside itself: name each work dir once.')
    return shortest_names(paths)


def _check_alike(first: Compared, other: Compared) -> None:
    for what, one, two in (
        ('evaluates', first.evaluation.task, other.evaluation.task),
        (
            'has the classes',
            ', '.join(first.evaluation.legend.names),
            ', '.join(other.evaluation.legend.names),
        ),
    ):
        if one != two:
            raise UserError(
                f'{first.run.folder} {what} {one}, but {other.run.folder} {two}. Runs can be '
                'compared that are evaluated on the same data.'
            )


def _summary(compared: Sequence[Compared]) -> Section:
    metrics = list(dict.fromkeys(key for each in compared for key in each.evaluation.metrics))
    nothing = float('nan')
    rows = _rows(
        'metric',
        compared,
        {key: [each.evaluation.metrics.get(key, nothing) for each in compared] for key in metrics},
    )
    facts = [['run', *(each.name for each in compared)]]
    for name, values in {
        'work dir': [str(each.run.folder) for each in compared],
        'config': [each.run.config_file.name for each in compared],
        'checkpoint': [each.run.checkpoint.name for each in compared],
        'images': [f'{len(each.evaluation.samples):,}' for each in compared],
    }.items():
        facts.append([name, *values])
    return Section('summary', 'Summary', [Table(rows), Table(facts, words=True)])


def _rows(
    title: str, compared: Sequence[Compared], values: Mapping[str, Sequence[float]]
) -> list[list[str]]:
    """A head, and for each name a value of each run and the gain of the last over the first."""
    head = [title, *(each.name for each in compared), 'gain']
    return [
        head,
        *(
            [name, *map(number, each), '-' if np.isnan(gain) else f'{gain:+.3f}']
            for name, each in values.items()
            for gain in [each[-1] - each[0]]
        ),
    ]


def _configs(compared: Sequence[Compared]) -> Block:
    flat = [dict(flatten(each.run.config.to_dict())) for each in compared]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    rows = [
        [key, *values]
        for key in keys
        if key.split('.')[0] not in UNLIKE
        for values in [[_shown(each, key) for each in flat]]
        if len(set(values)) > 1
    ]
    if not rows:
        return Text('The configs say the same.')
    return Table([['key', *(each.name for each in compared)], *rows], words=True)


def flatten(value: Any, key: str = '') -> list[tuple[str, Any]]:
    """Returns the values of a config by dotted key; those of lists by their place.

    Args:
        value: Dicts, lists and values.
        key: That of ``value``.
    """
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(value, dict) and value:
        pairs = value.items()
    elif isinstance(value, list | tuple) and any(isinstance(each, dict) for each in value):
        pairs = enumerate(value)
    else:
        return [(key, value)]
    return [
        pair
        for name, each in pairs
        for pair in flatten(each, f'{key}.{name}' if key else str(name))
    ]


def _shown(flat: Mapping[str, Any], key: str) -> str:
    text = repr(flat[key]) if key in flat else '-'
    return text if len(text) <= LONG else f'{text[: LONG - 1]}…'


def _curves(compared: Sequence[Compared]) -> list[Block]:
    """Draws the loss and each metric of the validation, the runs over each other."""
    blocks: list[Block] = []
    series: dict[str, Series] = {}
    for each in compared:
        try:
            losses, metrics = read_scalars(each.run.folder)
        except (UserError, ValueError) as error:
            blocks.append(Text(f'{each.name} has no curves: {error}'))
            continue
        for name, points in {'loss': losses.get('loss'), **metrics}.items():
            if points:
                series.setdefault(name, {})[each.name] = points
    return blocks + [plot_series(name, each) for name, each in series.items()]


def _classes(compared: Sequence[Compared]) -> Table:
    values = {
        name: [each.findings.of_classes[name] for each in compared]
        for name in compared[0].findings.of_classes
    }
    measure = compared[0].findings.measure
    return Table(_rows('class', compared, values), title=f'{measure} of each class')


def _images(compared: Sequence[Compared], count: int) -> list[Block]:
    """Shows the images that the last run does better and worse than the first."""
    first, last = compared[0], compared[-1]
    if [each.path for each in first.evaluation.samples] != [
        each.path for each in last.evaluation.samples
    ]:
        return [Text('The runs were evaluated on other images, which cannot be compared.')]
    gain = last.findings.quality - first.findings.quality
    blocks: list[Block] = [
        Text(
            ('' if first.evaluation.task == CLASSES else 'Left the truth, then what each found. ')
            + 'Touch an image to open it large.',
            quiet=True,
        ),
        *show_colors(first.evaluation),
    ]
    seen = [(each.evaluation, each.findings) for each in (first, last)]
    for key, title, order in (
        ('gained', f'Better by {last.name}', ranked(gain, gain > 0)),
        ('lost', f'Worse by {last.name}', ranked(-gain, gain < 0)),
    ):
        pictures = [
            show_sample(f'{key}-{place}', seen, index, [first.name, last.name])
            for place, index in enumerate(order[:count], 1)
        ]
        text = f'{len(order):,} of {len(gain):,} images, the greatest change first'
        if pictures:
            blocks.append(Pictures(key, title, pictures, text))
    return blocks
