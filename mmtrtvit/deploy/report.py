"""Report of a deployment, as text."""

from collections.abc import Sequence

from ..tables import format_rows, format_table
from .verify.compare import Difference
from .workflow import DeployResult


def format_result(result: DeployResult) -> str:
    """Returns the file, its size and the time of each step as two columns."""
    size = result.exported
    rows: dict[str, object] = {
        'ONNX file': result.onnx,
        'size': f'{size.megabytes:.1f} MB, {size.nodes} nodes '
        f'({size.exported_megabytes:.1f} MB, {size.exported_nodes} nodes as exported)',
    }
    if result.engine:
        rows['engine'] = result.engine
    if result.images:
        rows['drawn'] = ', '.join(map(str, result.images))
    rows['seconds'] = ', '.join(f'{name} {seconds:.1f}' for name, seconds in result.seconds.items())
    return format_table(rows)


def format_differences(differences: Sequence[Difference], judged: bool = True) -> str:
    """Returns a table: a row for each kind of output.

    Args:
        differences: The rows.
        judged: Whether to say which are within what rounding explains.
    """
    rows = [('against PyTorch', 'compared', 'unmatched', 'largest', 'mean', 'allowed', '')]
    rows += [
        (
            each.output,
            str(each.count),
            str(each.unmatched),
            f'{each.largest:.2e}',
            f'{each.mean:.2e}',
            *_judgement(each, judged),
        )
        for each in differences
    ]
    return format_rows(rows)


def _judgement(difference: Difference, judged: bool) -> tuple[str, str]:
    if not judged:
        return '-', ''
    return f'{difference.tolerance:.0e}', 'ok' if difference.within else 'DIFFERS'
