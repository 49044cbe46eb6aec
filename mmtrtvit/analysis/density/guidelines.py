"""TRT-ViT's four guidelines (arXiv 2205.09579) against densities that were measured on a device.

The paper draws them from densities on one GPU. Here each is a ratio of densities and a threshold:
it holds if the whole interval of the ratio lies above, it does not hold if the whole lies below,
and is undecided otherwise. The ratios and the thresholds are ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import UserError
from .measuring import Density, Measured

HOLDS, FAILS, UNDECIDED = 'holds', 'does not hold', 'undecided'
BLOCKS = 'BottleNeck', 'Transformer', 'MixBlockB', 'MixBlockC'
RULES = (
    'Transformer blocks belong in the late stages',
    'stages go from shallow to deep',
    'a block that mixes Transformer and BottleNeck beats a pure Transformer block',
    'inside a block: global first, then local',
)


@dataclass(frozen=True)
class Interval:
    """A number and where it lies.

    Attributes:
        value: From medians.
        low: From those bounds of the medians that make it least.
        high: From those that make it largest.
    """

    value: float
    low: float
    high: float

    def __truediv__(self, other: Interval) -> Interval:
        return Interval(self.value / other.value, self.low / other.high, self.high / other.low)

    def __str__(self) -> str:
        return f'{self.value:.3g} ({self.low:.3g} to {self.high:.3g})'


@dataclass(frozen=True)
class Finding:
    """What was found of a guideline.

    Attributes:
        number: 1 to 4.
        rule: What it says.
        verdict: :data:`HOLDS`, :data:`FAILS` or :data:`UNDECIDED`.
        compared: What ``effect`` is, or why there is none.
        effect: The ratio that decides.
        threshold: What it is compared with.
        stages: The ratio of each stage that was measured, by number.
    """

    number: int
    rule: str
    verdict: str
    compared: str
    effect: Interval | None = None
    threshold: float | None = None
    stages: dict[int, Interval] | None = None


class _Missing(Exception):
    """A density that a guideline needs is not there."""


class _Table:
    """Densities of one backend, precision and batch, by block and stage."""

    def __init__(self, cells: Sequence[Density]) -> None:
        self.cells = {(cell.block, cell.stage): cell for cell in cells}
        self.stages = sorted({cell.stage for cell in cells if cell.block in BLOCKS})
        if len(self.stages) < 2:
            raise UserError(
                f'the guidelines need two stages or more with {", ".join(BLOCKS)}: '
                f'these densities have {len(self.stages)}'
            )

    @property
    def first(self) -> int:
        return self.stages[0]

    @property
    def last(self) -> int:
        return self.stages[-1]

    def density(self, block: str, stage: int, amount: str = 'macs') -> Interval:
        cell = self.cells.get((block, stage))
        if cell is None:
            raise _Missing(f'{block} at stage {stage} was not measured')
        if cell.milliseconds is None or cell.bounds is None:
            raise _Missing(f'{block} at stage {stage} is too noisy')
        count = getattr(cell, amount)
        low, high = cell.bounds
        return Interval(count / cell.milliseconds, count / high, count / low)

    def ratios(self, one: str, other: str) -> dict[int, Interval]:
        """TeraFLOPS of one block over those of another, at each stage that has both."""
        found = {}
        for stage in self.stages:
            try:
                found[stage] = self.density(one, stage) / self.density(other, stage)
            except _Missing:
                continue
        return found


def judge(measured: Measured, margin: float = 0.1) -> dict[tuple[str, str, int], list[Finding]]:
    """Judges the four guidelines.

    Args:
        measured: Densities of :data:`BLOCKS` at two stages or more.
        margin: By how much a density must be larger to count as larger.

    Returns:
        Four findings for each backend, precision and batch.

    Raises:
        UserError: If there are fewer than two stages.
    """
    return {
        name: list(_judge(_Table(cells), margin)) for name, cells in groups(measured.cells).items()
    }


def groups(cells: Sequence[Density]) -> dict[tuple[str, str, int], list[Density]]:
    """Cells by backend, precision and batch."""

    def key(cell: Density) -> tuple[str, str, int]:
        return cell.backend, cell.precision, cell.batch

    return {name: list(group) for name, group in itertools.groupby(sorted(cells, key=key), key)}


def _judge(table: _Table, margin: float) -> Iterator[Finding]:
    first, last = table.first, table.last

    def late_transformers() -> Interval:
        late, early = (
            table.density('Transformer', stage) / table.density('BottleNeck', stage)
            for stage in (last, first)
        )
        return late / early

    def late_parameters() -> Interval:
        growths = [
            table.density(block, last, 'parameters') / table.density(block, first, 'parameters')
            for block in ('BottleNeck', 'Transformer')
        ]
        return min(growths, key=lambda each: each.value)

    def mixing() -> Interval:
        return table.density('MixBlockC', last) / table.density('Transformer', last)

    def order() -> Interval:
        return table.density('MixBlockC', last) / table.density('MixBlockB', last)

    more = 1 + margin
    cases = (
        (
            late_transformers,
            f'TeraFLOPS of Transformer over BottleNeck, at stage {last} over stage {first}',
            more,
            table.ratios('Transformer', 'BottleNeck'),
        ),
        (
            late_parameters,
            f'TeraParams at stage {last} over stage {first}, of BottleNeck or Transformer, '
            'whichever gains less',
            more,
            None,
        ),
        (
            mixing,
            f'TeraFLOPS of MixBlockC over Transformer, at stage {last}',
            more,
            table.ratios('MixBlockC', 'Transformer'),
        ),
        (
            order,
            f'TeraFLOPS of MixBlockC (global first) over MixBlockB, at stage {last}; accuracy, the '
            'reason for the rule, is not measured: it holds if the order costs no time',
            1 - margin,
            table.ratios('MixBlockC', 'MixBlockB'),
        ),
    )
    for number, (rule, (ratio, compared, threshold, stages)) in enumerate(zip(RULES, cases), 1):
        try:
            effect = ratio()
        except _Missing as reason:
            yield Finding(number, rule, UNDECIDED, str(reason), stages=stages)
            continue
        verdict = UNDECIDED
        if effect.low >= threshold:
            verdict = HOLDS
        elif effect.high < threshold:
            verdict = FAILS
        yield Finding(number, rule, verdict, compared, effect, threshold, stages)


def lines(found: dict[tuple[str, str, int], list[Finding]]) -> Iterator[str]:
    """Yields the findings as text."""
    for (backend, precision, batch), findings in found.items():
        yield f'{backend}, {precision}, batch {batch}'
        for each in findings:
            yield f'  {each.number}. {each.rule}: {each.verdict.upper()}'
            if each.effect is None:
                yield f'     {each.compared}'
            else:
                yield f'     {each.compared}:'
                yield f'     {each.effect}, holds from {each.threshold:.3g} on'
            if each.stages:
                by_stage = (f'{stage}: {ratio}' for stage, ratio in each.stages.items())
                yield f'     by stage {", ".join(by_stage)}'


def as_dicts(found: dict[tuple[str, str, int], list[Finding]]) -> list[dict[str, Any]]:
    """The findings as plain data."""
    return [
        dict(backend=backend, precision=precision, batch=batch, **asdict(each))
        for (backend, precision, batch), findings in found.items()
        for each in findings
    ]
