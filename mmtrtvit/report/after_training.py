"""The report at the end of a training, which a training never fails for."""

from importlib import import_module
from pathlib import Path

from mmengine.config import Config

from ..engine.runner import TrainResult
from ..errors import message


def report_after(result: TrainResult, config: Config) -> str:
    """Writes the report on a training that has ended well.

    Args:
        result: Of the training.
        config: Its config.

    Returns:
        One line: where the report is, or why there is none.
    """
    if result.checkpoint is None:
        return 'no report: the training wrote no checkpoint'
    by_hand = f'mmtrtvit report {result.work_dir}'
    if config.get('launcher', 'none') != 'none':  # the evaluation would take all processes
        return f'no report after a training of several processes; {by_hand} writes one'
    if not (config.get('val_dataloader') or config.get('test_dataloader')):
        return 'no report: the config has no data to evaluate on'
    copy = result.work_dir / Path(config.filename or 'config.py').name
    try:
        page = import_module('.page', __package__)
        weights = result.best.file if result.best else result.checkpoint
        out, _ = page.report(result.work_dir, config=copy, checkpoint=weights)
    except KeyboardInterrupt:
        return f'no report: it was stopped; {by_hand} writes one'
    except Exception as error:  # whatever it is, the training is done
        reason = message(error) or f'{type(error).__name__}: {error}'
        return f'no report: {" ".join(reason.split())}'
    return f'report: {out}'
