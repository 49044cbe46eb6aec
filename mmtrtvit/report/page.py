"""The page: one file of HTML that needs no other file, no network and no script."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ..analysis.pages.rendering import render
from ..errors import UserError
from ..files import write_whole
from ..version import __version__
from .blocks import Section, Text
from .collecting import evaluate_samples
from .data import show_data
from .deployments import show_deployments
from .evaluation import CLASSES, LABEL_MAPS, OBJECTS, Evaluation
from .findings import Findings
from .pictures import MOST, show_colors, show_pictures
from .run import (
    find_run,
    show_cost,
    show_environment,
    show_summary,
    show_training,
    show_use,
)
from .show_label_maps import find_label_maps
from .show_objects import find_objects
from .show_scores import find_scores
from .speed import show_speed
from .tracked import show_trackers

IMAGES = 8  # of each kind
FINDERS = {OBJECTS: find_objects, LABEL_MAPS: find_label_maps, CLASSES: find_scores}


def report(
    work_dir: str | Path,
    *,
    config: str | Path | None = None,
    checkpoint: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    images: int = IMAGES,
    out: str | Path | None = None,
) -> tuple[Path, Evaluation]:
    """Writes the report on a run.

    The checkpoint is evaluated as tools/test.py does; the predictions are kept in
    ``WORK_DIR/report`` for the next report on it.

    Args:
        work_dir: The folder that the training wrote.
        config: Config file; default: the one in the folder.
        checkpoint: The weights; default: the best in the folder.
        options: Values of the config by dotted key.
        images: Images of each kind (worst, best, ...), up to :data:`~.pictures.MOST`.
        out: The file; default: ``WORK_DIR/report.html``.

    Returns:
        The file and the evaluation.

    Raises:
        UserError: If the run cannot be evaluated.
    """
    check_images(images)
    run = find_run(work_dir, config=config, checkpoint=checkpoint, options=options)
    evaluation = evaluate_samples(run.config, run.checkpoint, run.folder / 'report')
    findings = FINDERS[evaluation.task](evaluation)
    sections = [
        show_summary(run, evaluation),
        show_data(run.config),
        show_training(run),
        *findings.sections,
        _images(evaluation, findings, images),
        show_cost(run, evaluation),
        show_speed(run, evaluation),
        *show_deployments(run),
        *show_trackers(run),
        show_environment(),
        show_use(run),
    ]
    return write_page(run.name, sections, out or run.folder / 'report.html'), evaluation


def check_images(count: int) -> None:
    """Refuses more images of each kind than a page holds.

    Raises:
        UserError: If the number is out of its range.
    """
    if not 0 <= count <= MOST:
        raise UserError(f'--images {count}: expected 0 to {MOST} images of each kind.')


def write_page(name: str, sections: list[Section], out: str | Path) -> Path:
    """Writes a page.

    Args:
        name: What the report is on.
        sections: The parts, of which empty ones are left out.
        out: The file.
    """
    text = render(
        'report.html',
        Path(__file__).parent,
        name=name,
        made=f'written by mmtrtvit {__version__} on {datetime.now():%Y-%m-%d %H:%M}',
        sections=[section for section in sections if section.blocks],
    )
    write_whole(out, text)
    return Path(out)


def _images(evaluation: Evaluation, findings: Findings, count: int) -> Section:
    pictures = show_pictures(evaluation, findings, count)
    what = 'Left the truth, right what was found. ' if evaluation.task != CLASSES else ''
    text = Text(f'{what}Touch an image to open it large.', quiet=True)
    return Section(
        'images', 'Images', [text, *show_colors(evaluation), *pictures] if pictures else []
    )
