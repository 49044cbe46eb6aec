"""Updates the tables of a document from the CSV files of results and of published numbers.

A table stands between two comments of the document; the first names the file, in the folder of
results, and the columns:

  <!-- table: versus_timm-inference_..._2026-01-31.csv: model batch height width milliseconds -->
  <!-- end of table -->

A second file, after a plus, has columns of what is published of the same models. It lies in the
folder of published numbers, and may also stand alone, without the rows that are still empty:

  <!-- table: ablations_..._2026-01-31.csv + imagenet.csv: model milliseconds published_ms -->
  <!-- end of table -->

The least and the largest number of a column, in the rows with a value in another column, stand
between two comments within a line:

  <!-- range: versus_timm-inference_..._2026-01-31.csv: implementation=timm: speedup -->1.5 to
  2.0<!-- end of range -->

Examples:
  python benchmarks/tables.py docs/speed.md
  python benchmarks/tables.py docs/models.md
"""

import argparse
import re
import textwrap
from pathlib import Path

from common import PUBLISHED, RESULTS, read, table

from mmtrtvit.engine.command_line import new_parser, run_tool
from mmtrtvit.errors import UserError
from mmtrtvit.files import write_whole

BLOCK = re.compile(
    r'(<!-- table: (\S+)(?: \+ (\S+))?: (.*?) -->\n).*?(<!-- end of table -->)', re.S
)

RANGE = re.compile(
    r'(<!-- range: (\S+): (\w+)=([^:]+): (\w+) -->)(?:(?!<!--).)*(<!-- end of range -->)', re.S
)


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('document', type=Path, help='Markdown file, changed in place')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    text = with_tables(args.document.read_text())
    write_whole(args.document, text)


def with_tables(text: str) -> str:
    """Returns a document with its tables and ranges made anew.

    Raises:
        UserError: If it names a file or a column that does not exist.
    """
    return RANGE.sub(_range, BLOCK.sub(_block, text))


def _block(match: re.Match) -> str:
    head, name, published, columns, end = match.groups()
    columns = columns.split()
    path = PUBLISHED / name if (PUBLISHED / name).exists() else RESULTS / name
    rows = _rows(path)
    if published:
        known = {row['model']: row for row in _rows(PUBLISHED / published)}
        empty = dict.fromkeys(next(iter(known.values())), '')
        rows = [{**empty, **known.get(row['model'], {}), **row} for row in rows]
    unknown = set(columns) - set(rows[0])
    if unknown:
        raise UserError(f'{path} has no columns {sorted(unknown)}, but {", ".join(rows[0])}')
    if path.parent == PUBLISHED:
        rows = [row for row in rows if any(row[key] for key in row if key != 'model')]
        return f'{head}{table(rows, columns)}\n{end}'
    lines = [
        f'`{row["command"]}`; {row["machine"]}; {row["versions"]}; {row["threads"]} threads, '
        f'{row["dtype"]}; {row["rounds"]} rounds; {row["date"]}'
        for row in rows
    ]
    births = '\n'.join(
        textwrap.fill(f'* {line}', 100, subsequent_indent='  ', break_on_hyphens=False)
        for line in dict.fromkeys(lines)
    )
    return f'{head}{table(rows, columns)}\n\n{births}\n{end}'


def _range(match: re.Match) -> str:
    head, name, column, value, numbers, end = match.groups()
    path = RESULTS / name
    rows = _rows(path)
    if not {column, numbers} <= set(rows[0]):
        raise UserError(f'{path} has no columns {column} and {numbers}, but {", ".join(rows[0])}')
    found = [float(row[numbers]) for row in rows if row[column] == value]
    if not found:
        raise UserError(f'{path} has no row whose {column} is {value!r}')
    bounds = dict.fromkeys(f'{bound:.2f}' for bound in (min(found), max(found)))
    return f'{head}{" to ".join(bounds)}{end}'


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        raise UserError(f'{path} does not exist: run the benchmark, or correct the document')
    return read(path)


if __name__ == '__main__':
    run_tool(main, parse_args())
