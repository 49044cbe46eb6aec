"""Schedules of the learning rate: without the parts that act in no iteration."""

from typing import Any

from mmengine.runner import Runner

from ..errors import UserError


def leave_out_idle(runner: Runner) -> None:
    """Leaves out the parts of ``param_scheduler`` that no iteration of a training belongs to.

    A warm-up of half an epoch is one where an epoch has a single iteration, a decay from the fifth
    epoch on where there are three. MMEngine refuses to build them.

    Args:
        runner: Of the training; a warning in its log names each part that is left out.

    Raises:
        UserError: If a part says that it ends before it begins.
    """
    runner.param_schedulers = _acting(runner.param_schedulers, 'param_scheduler', runner)


def _acting(schedule: Any, key: str, runner: Runner) -> Any:
    """What is left of a part, of several, or of those of several optimizers by name."""
    if isinstance(schedule, dict) and 'type' not in schedule:
        return {name: _acting(part, f'{key}.{name}', runner) for name, part in schedule.items()}
    if isinstance(schedule, list | tuple):
        return [
            part for index, part in enumerate(schedule) if _acts(part, f'{key}.{index}', runner)
        ]
    return schedule if _acts(schedule, key, runner) else []


def _acts(part: Any, key: str, runner: Runner) -> bool:
    if not isinstance(part, dict):  # none, or one that is built already
        return True
    by_epoch = part.get('by_epoch', True)
    unit, length = ('epochs', runner.max_epochs) if by_epoch else ('iterations', runner.max_iters)
    begin, end = part.get('begin', 0), part.get('end', length)
    if end < begin and 'end' in part:
        raise UserError(
            f'{key} ({part["type"]}) ends at {end:g}, before it begins, at {begin:g}. Set '
            f'--cfg-options {key}.begin=... or {key}.end=...'
        )
    each = len(runner.train_dataloader) if part.get('convert_to_iter_based') else 1
    if int(begin * each) < int(end * each):
        return True
    of = f' of {each} iteration{"s" * (each > 1)}' if by_epoch else ''
    runner.logger.warning(
        f'{key} ({part["type"]}, from {begin:g} to {end:g} {unit}) is left out: no iteration '
        f'belongs to it. The training has {length} {unit}{of}.'
    )
    return False
