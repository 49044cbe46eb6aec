"""TRT-ViT's design rule as a search: networks for a latency, from the latencies of their parts.

The latency of a network is taken for the sum of its stem, of what leads into each stage, and of its
blocks, each as it was measured at its stage. All depths and patterns are looked through; the best
are then measured whole.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...environment import device_name
from ...errors import UserError
from ...models import TRTViT, fuse
from ...models.trt_vit import MIX_BLOCKS
from ..cuda import ColdCache
from ..estimates import measure_until_certain, wall_clock
from ..timing import threads as torch_threads
from .guidelines import groups
from .measuring import Conditions, Density, Measured
from .peaks import matrix_products
from .runners import DTYPES, Backend, Job

KINDS = {
    'C': 'BottleNeck',
    'T': 'Transformer',
    **{letter: block.__name__ for letter, block in MIX_BLOCKS.items()},
}
# Convolutions first, then one kind of block that attends: guideline 1.
PATTERNS = tuple(
    '-'.join(['C'] * (4 - late) + [kind] * late)
    for late in range(5)
    for kind in (['M', 'MA', 'MB', 'T'] if late else [''])
)
DRIFT = 1.2  # how much faster or slower a device may be at another time without a word of it


@dataclass(frozen=True)
class Candidate:
    """A TRT-ViT.

    Attributes:
        pattern: As the option of :class:`.TRTViT`.
        depths: Blocks of each stage.
        channels: Width of each stage.
        predicted: Milliseconds of a batch, the sum of its parts.
        macs: Multiply-adds for a batch.
        parameters: Number of them.
        measured: Milliseconds of a batch, measured whole; None if not or too noisy.
        drift: Speed of the device when that was measured over its speed when the parts were, by the
            best product of matrices; None if not known.
    """

    pattern: str
    depths: tuple[int, ...]
    channels: tuple[int, ...]
    predicted: float
    macs: int
    parameters: int
    measured: float | None = None
    drift: float | None = None

    @property
    def arch(self) -> dict[str, tuple[int, ...]]:
        """The option ``arch`` of :class:`.TRTViT`."""
        return dict(depths=self.depths, channels=self.channels)


@dataclass(frozen=True)
class Rules:
    """What is looked through.

    Attributes:
        budget: Most milliseconds of a batch.
        patterns: Kinds of blocks by stage.
        maximised: ``'macs'``, ``'parameters'``, or ``'balance'``: their product.
        growth: How many times as deep as the stage before a stage may be; none may be less deep
            (guideline 2).
        max_depth: Most blocks of a stage.
    """

    budget: float
    patterns: Sequence[str] = PATTERNS
    maximised: str = 'balance'
    growth: float = 2.0
    max_depth: int = 24


def needed_blocks(patterns: Sequence[str]) -> list[str]:
    """Names of the blocks whose latencies a search needs.

    Raises:
        UserError: If a pattern is none.
    """
    kinds: dict[str, None] = {}
    for pattern in patterns:
        letters = pattern.upper().split('-')
        if len(letters) != 4 or any(letter not in KINDS for letter in letters):
            raise UserError(f'pattern {pattern!r}: expected four of {", ".join(KINDS)}, as C-C-C-M')
        kinds.update(dict.fromkeys(KINDS[letter] for letter in letters))
    return [*kinds, 'Stem', 'Embedding']


def best_candidates(measured: Measured, rules: Rules, count: int) -> list[Candidate]:
    """Looks through all networks and returns the best within the budget, the best first.

    Args:
        measured: Densities of :func:`needed_blocks` for one backend, precision and batch.
        rules: What is looked through.
        count: How many to return at most.

    Raises:
        UserError: If a latency is missing or too noisy, or no network is fast enough.
    """
    names = groups(measured.cells)
    if len(names) != 1:
        listed = ', '.join(' '.join(map(str, name)) for name in names)
        raise UserError(f'a budget needs one backend, precision and batch; there are: {listed}')
    needed = needed_blocks(rules.patterns)
    cells = _checked(measured.cells, needed)
    channels = tuple(cells[needed[0], stage].channels for stage in range(1, 5))
    frame = [cells['Stem', 1], *(cells['Embedding', stage] for stage in range(1, 5))]
    depths = _depths(rules)
    found: list[tuple[float, float, Candidate]] = []
    fastest = math.inf
    for pattern in rules.patterns:
        letters = pattern.upper().split('-')
        row = [cells[KINDS[letter], stage] for stage, letter in enumerate(letters, 1)]
        times, macs, parameters = (
            depths @ np.array([value(cell) for cell in row]) + sum(map(value, frame))
            for value in (_milliseconds, _macs, _parameters)
        )
        fastest = min(fastest, times.min())
        (fast,) = np.nonzero(times <= rules.budget)
        scores = _scores(rules.maximised, macs[fast], parameters[fast])
        order = np.lexsort((times[fast], -scores))[:count]
        for index, score in zip(fast[order], scores[order]):
            network = Candidate(
                pattern.upper(),
                tuple(int(depth) for depth in depths[index]),
                channels,
                float(times[index]),
                int(macs[index]),
                int(parameters[index]),
            )
            found.append((-score, network.predicted, network))
    if not found:
        raise UserError(
            f'no network takes {rules.budget:g} ms or less: the fastest takes {fastest:.4g} ms. '
            'Choose a larger budget, narrower --channels or a smaller --image.'
        )
    return [network for *_, network in sorted(found, key=lambda each: each[:2])[:count]]


def suggest(
    measured: Measured,
    rules: Rules,
    count: int,
    backends: Mapping[str, Backend],
    conditions: Conditions,
) -> list[Candidate]:
    """Finds the best networks by their parts and measures them whole.

    Args:
        measured: As for :func:`best_candidates`, on this device.
        rules: What is looked through.
        count: Number of networks.
        backends: The known ones by name.
        conditions: Under what they are measured.

    Returns:
        The networks, the best first; those that turn out slower than the budget, or too noisy to
        tell, come last.

    Raises:
        UserError: See :func:`best_candidates`; or if the densities are of another device.
    """
    found = best_candidates(measured, rules, count)
    name = device_name(conditions.device)
    if measured.conditions['device'] != name:
        raise UserError(
            f'the densities are of {measured.conditions["device"]}, but this is {name}: leave the '
            'file out, so that the blocks are measured here.'
        )
    (backend, precision, batch), cells = next(iter(groups(measured.cells).items()))
    stem = next(cell for cell in cells if cell.block == 'Stem')
    shape = batch, 3, stem.height, stem.width
    found = measure_whole(
        found, backends[backend], conditions, precision=precision, shape=shape, peak=stem.peak_macs
    )
    return sorted(found, key=lambda each: (each.measured or math.inf) > rules.budget)


def measure_whole(
    candidates: Sequence[Candidate],
    backend: Backend,
    conditions: Conditions,
    *,
    precision: str,
    shape: tuple[int, ...],
    peak: float | None = None,
) -> list[Candidate]:
    """Measures networks in turn, whole.

    Args:
        candidates: The networks.
        backend: What runs them.
        conditions: Under what.
        precision: Of the computation.
        shape: Of the images, ``(B, 3, H, W)``.
        peak: Multiply-adds a second of the best product of matrices when the parts were measured.

    Returns:
        The networks with what was measured, in the same order.
    """
    with torch_threads(conditions.threads or None):
        products = matrix_products(conditions.device, DTYPES[precision]) if peak else {}
        calls = {name: work.call for name, work in products.items()}
        calls |= {
            str(index): backend.prepare(
                Job(
                    TRTViT(each.arch, each.pattern, out_indices=(3,)).eval(),
                    shape,
                    precision,
                    conditions.device,
                    conditions.threads,
                    fuse,
                    conditions.cuda_graphs,
                )
            )
            for index, each in enumerate(candidates)
        }
        found = measure_until_certain(
            calls,
            rounds=conditions.rounds,
            most_uncertainty=conditions.most_uncertainty,
            seconds=conditions.seconds,
            clock=ColdCache(conditions.device) if conditions.device == 'cuda' else wall_clock,
        )
    speeds = [work.amount / found[name].median * 1000 for name, work in products.items()]
    drift = max(speeds) / peak if peak else None
    return [
        replace(each, measured=found[str(index)].median, drift=drift)
        if found[str(index)].uncertainty <= conditions.most_uncertainty
        else each
        for index, each in enumerate(candidates)
    ]


def config_lines(candidate: Candidate) -> str:
    """Options of a backbone ``TRTViT`` as lines of a config."""
    return (
        f'arch=dict(depths={candidate.depths}, channels={candidate.channels}),\n'
        f'pattern={candidate.pattern!r},'
    )


def summary(candidate: Candidate, budget: float) -> str:
    """What is known of a network, in a line."""
    if candidate.measured is None:
        whole = 'whole: too noisy to tell'
    else:
        over = ' (over the budget)' if candidate.measured > budget else ''
        whole = f'{candidate.measured:.3f} ms measured whole{over}'
        if candidate.drift and not 1 / DRIFT <= candidate.drift <= DRIFT:
            whole += f' by a device {candidate.drift:.2f} times as fast as for the parts'
    return (
        f'{whole}, {candidate.predicted:.3f} ms by its parts, {candidate.macs / 1e9:.3f} GMACs, '
        f'{candidate.parameters / 1e6:.2f}M parameters'
    )


def _checked(cells: Sequence[Density], needed: Sequence[str]) -> Mapping[tuple[str, int], Density]:
    found = {(cell.block, cell.stage): cell for cell in cells}
    wanted = [
        (name, stage) for name in needed for stage in ((1,) if name == 'Stem' else (1, 2, 3, 4))
    ]
    if missing := dict.fromkeys(name for name, stage in wanted if (name, stage) not in found):
        raise UserError(
            f'a budget needs the densities of {", ".join(missing)} at all four stages: measure '
            f'them too, tools/density.py --blocks {" ".join(needed)}'
        )
    noisy = [
        f'{name} at stage {stage}'
        for name, stage in wanted
        if found[name, stage].milliseconds is None
    ]
    if noisy:
        raise UserError(
            f'too noisy for a budget: {", ".join(noisy)}. Give it a larger --max-spread or '
            '--time-limit, or a quieter machine.'
        )
    return found


def _depths(rules: Rules) -> np.ndarray:
    """Depths of the four stages, ``(N, 4)``: from shallow to deep."""
    if not rules.growth >= 1:
        raise UserError(f'--growth {rules.growth:g}: expected 1 (equally deep stages) or more')
    rows: list[tuple[int, ...]] = [(depth,) for depth in range(1, rules.max_depth + 1)]
    for _ in range(3):
        rows = [
            (*row, depth)
            for row in rows
            for depth in range(row[-1], int(min(rules.growth * row[-1], rules.max_depth)) + 1)
        ]
    return np.array(rows)


def _scores(maximised: str, macs: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    if maximised == 'balance':
        return macs.astype(float) * parameters
    return (macs if maximised == 'macs' else parameters).astype(float)


def _milliseconds(cell: Density) -> float:
    return cell.milliseconds or math.nan


def _macs(cell: Density) -> int:
    return cell.macs


def _parameters(cell: Density) -> int:
    return cell.parameters
