"""The part of a report on where the time of a prediction goes."""

from pathlib import Path

from ..analysis.stages import describe_conditions, median_rows, stage_times
from ..engine.predictor import load
from ..errors import UserError
from .blocks import Section, Table, Text
from .evaluation import Evaluation
from .run import Run

IMAGES = 8


def show_speed(run: Run, evaluation: Evaluation) -> Section:
    """Returns the time of each stage, measured anew on a few images of the evaluation."""
    files = [sample.path for sample in evaluation.samples if Path(sample.path).is_file()]
    if not files:
        return Section('speed', 'Speed', [Text('The images are gone, so nothing was timed.')])
    try:
        predictor = load(run.config, run.checkpoint)
        times = stage_times(predictor, files[:IMAGES])
    except (UserError, RuntimeError) as error:
        return Section('speed', 'Speed', [Text(f'It could not be measured: {error}')])
    head, *stages, total = median_rows(times)
    count = len(next(iter(times.values())))
    quiet = (
        'Post-processing is what heads do outside of their layers, and what the model does last.'
    )
    return Section(
        'speed',
        'Speed',
        [
            Text(describe_conditions(predictor, count)),
            Table([head, *stages], [total]),
            Text(quiet, quiet=True),
        ],
    )
