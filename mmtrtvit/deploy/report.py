"""Report of a deployment, as text."""

from collections.abc import Sequence

from ..tables import format_rows, format_table
from .graphs.half import LARGEST
from .measure.speed import Speed
from .result import DeployResult
from .verify.agreement import Agreement
from .verify.compare import Difference
from .verify.peaks import NEAR, Peaks
from .verify.search import Search


def format_result(result: DeployResult) -> str:
    """Returns the file, its size and the time of each step as two columns."""
    size = result.exported
    rows: dict[str, object] = {
        'ONNX file': result.onnx,
        'size': f'{size.megabytes:.1f} MB, {size.nodes} nodes '
        f'({size.exported_megabytes:.1f} MB, {size.exported_nodes} nodes as exported)',
    }
    if result.built:
        rows[result.product] = result.built
    if result.images:
        rows['drawn'] = ', '.join(map(str, result.images))
    rows['seconds'] = ', '.join(f'{name} {seconds:.1f}' for name, seconds in result.seconds.items())
    return format_table(rows)


def format_failure(result: DeployResult) -> str:
    """Returns what is wrong with a result that is not verified, and what to do."""
    sentences = []
    if result.peaks and result.peaks.overflowing:
        first = result.peaks.overflowing[0]
        sentences.append(
            f'Half precision cannot hold {len(result.peaks.overflowing)} layer(s) of '
            f'{result.onnx}, first {first.layer}: up to {first.value:.3g} on '
            f'{result.peaks.images} image(s), and its largest number is {LARGEST:.0f}. Export '
            'with fp32, or train with smaller activations.'
        )
    for name in result.different:
        file = result.onnx.with_name(name)
        if name in result.not_judged:
            sentences.append(
                f'Nothing of {file} was compared: neither it nor PyTorch finds anything on these '
                'images. Name images with objects that the model finds: IMG, --test-img.'
            )
        elif name not in result.agreements:
            sentences.append(f'{file} finds something else than PyTorch.')
        else:
            share = format_agreement(result.agreements[name])
            sentences.append(
                f'{file} does not find what PyTorch finds: {share}. Try another '
                'calib_config.method, more calib_config.num_images, calib_config.exclude_worst=8 '
                'for INT8, or fp32; or set verify_config.least_agreement if tools/test.py says '
                'that its metrics are good enough.'
            )
    return ' '.join([*sentences, 'All files were kept.'])


def format_agreement(agreement: Agreement) -> str:
    """Returns how much is alike, and how much has to be, as part of a sentence."""
    return (
        f'{agreement.share:.1%} of {agreement.count} ({agreement.of}), at least '
        f'{agreement.least:.0%} expected'
    )


def format_speed(speed: Speed, file: str) -> str:
    """Returns the times of both files as a table, and a warning where lower precision is slower."""
    title = speed.precision.upper()
    rows = [
        (f'{speed.runtime}, {speed.images} image(s), {speed.rounds} rounds', 'ms', 'fastest', ''),
        *(
            (name, f'{times.milliseconds:.1f}', f'{times.fastest:.1f}', note)
            for name, times, note in (
                ('FP32', speed.fp32, ''),
                (title, speed.lower, f'{speed.ratio:.2f} times as fast'),
            )
        ),
    ]
    text = format_rows(rows)
    if speed.slower:
        text += (
            f'\n\nWARNING: {file} IS SLOWER THAN FP32: {title} takes {1 / speed.ratio:.2f} times '
            f'as long in {speed.runtime} on this machine. Take fp32 for it, unless the size of the '
            'file is what counts.'
        )
    return text


def format_search(search: Search) -> str:
    """Returns what was tried, and the layers that stay in single precision, as two tables."""
    names = list(search.fp32)
    trials = [('layers in FP32', *names, 'drop', '')]
    trials += [('all', *(f'{search.fp32[name]:.2f}' for name in names), '', '')]
    trials += [
        (
            str(len(each.left_out)),
            *(f'{each.metrics[name]:.2f}' for name in names),
            f'{each.drop:.2f}',
            'taken' if each == search.chosen else '',
        )
        for each in search.trials
    ]
    rows = [
        [row['layer'], f'{row["decibels"]:.1f}', *(_points(row[key]) for key in list(row)[4:])]
        for row in search.rows()
        if row['in_fp32']
    ]
    head = ['stays in FP32', 'dB', f'{names[0]} with INT8', 'without']
    layers = format_rows([head, *rows]) if rows else 'No layer has to stay in FP32.'
    return f'{format_rows(trials)}\n\n{layers}'


def _points(value: float | str) -> str:
    return f'{value:.2f}' if isinstance(value, float) else '-'


def format_peaks(peaks: Peaks) -> str:
    """Returns a table of the ten layers with the largest values, and warnings below it."""
    rows = [
        (f'half precision, {peaks.images} image(s)', 'largest', f'of {LARGEST:.0f}', ''),
        *(
            (
                peak.layer,
                f'{peak.value:.3g}',
                f'{peak.value / LARGEST:.2%}',
                'OVERFLOWS' if peak.overflows else 'near' if peak.near else '',
            )
            for peak in peaks.largest()
        ),
    ]
    text = format_rows(rows)
    if peaks.near:
        names = ', '.join(peak.layer for peak in peaks.near)
        text += (
            f'\n\nWarning: over {NEAR:.0%} of what half precision holds, so that another image may '
            f'overflow: {names}'
        )
    return text


def format_differences(
    differences: Sequence[Difference], judged: bool = True, what: str = 'against PyTorch'
) -> str:
    """Returns a table: a row for each kind of output.

    Args:
        differences: The rows.
        judged: Whether to say which are within what rounding explains.
        what: Heading of the first column.
    """
    rows = [(what, 'compared', 'unmatched', 'largest', 'mean', 'allowed', '')]
    rows += [
        (
            each.output,
            str(each.count),
            str(each.unmatched),
            f'{each.largest:.2e}' if each.count else '-',
            f'{each.mean:.2e}' if each.count else '-',
            f'{each.tolerance:.0e}' if judged else '-',
            _judgement(each, judged),
        )
        for each in differences
    ]
    return format_rows(rows)


def _judgement(difference: Difference, judged: bool) -> str:
    if not difference.count and not difference.unmatched:
        return 'nothing to compare'
    if not judged:
        return ''
    return 'ok' if difference.within else 'DIFFERS'
