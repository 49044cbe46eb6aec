"""What was exported of a run, as tools/deploy.py left it below its folder."""

import json
from pathlib import Path

from ..errors import UserError
from ..files import read_json
from .blocks import Block, Section, Table
from .run import Run

RECORD = 'deploy_report.json'  # what was compared and measured


def show_deployments(run: Run) -> list[Section]:
    """Returns what was exported of the run, if the files lie below its folder."""
    blocks: list[Block] = []
    for file in sorted(run.folder.glob('**/detail.json')):
        try:
            content = read_json(file)
            settings, source = content['settings'], content['codebase']
            facts = {
                'folder': str(file.parent.relative_to(run.folder)),
                'date': content['date'],
                'of': Path(source['pth']).name,
                **{key: json.dumps(settings[key]) for key in ('backend', 'precision', 'exporter')},
            }
        except (OSError, ValueError, KeyError, TypeError):
            continue
        blocks.append(Table([['deployment', ''], *map(list, facts.items())], words=True))
        blocks += measured(file.parent)
    return [Section('deployment', 'Deployment', blocks)] if blocks else []


def measured(folder: Path) -> list[Block]:
    """Returns how a deployment compares with PyTorch, and its speed in lower precision."""
    try:
        record = read_json(folder / RECORD)
        compared = [
            [
                f'{name}: {row["output"]}',
                f'{row["count"]:,}',
                '-' if row['largest'] is None else f'{row["largest"]:.2e}',
                'ok' if (content['agreement'] or row).get('enough', row['within']) else 'differs',
            ]
            for name, content in record['files'].items()
            for row in content['differences']
        ]
        agreed = [
            [name, f'{share["count"]:,}', f'{share["share"]:.1%}', f'{share["least"]:.0%}']
            for name, content in record['files'].items()
            if (share := content['agreement'])
        ]
        speed = record['speed']
        times = speed and [
            [name, f'{speed[key]["milliseconds"]:.1f}', f'{speed[key]["spread"]:.0%}', faster]
            for name, key, faster in (
                ('FP32', 'fp32', ''),
                (speed['precision'].upper(), 'lower', f'{speed["ratio"]:.2f} times as fast'),
            )
        ]
    except (OSError, UserError, ValueError, KeyError, TypeError, AttributeError):
        return []
    tables = [
        ([['against PyTorch', 'compared', 'largest difference', ''], *compared], ''),
        ([['found by both', 'of', 'share', 'at least'], *agreed], ''),
        (
            [['precision', 'ms for an image', 'spread', ''], *(times or [])],
            f'timed in {speed["runtime"]} on {record["machine"]}' if speed else '',
        ),
    ]
    return [Table(rows, title=title) for rows, title in tables if len(rows) > 1]
