"""Record of a deployment, for programs: what was compared and measured, as JSON."""

import datetime
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..environment import device_name
from ..files import write_whole
from ..tables import csv_text
from .description import RECORD
from .result import DeployResult
from .verify.search import Search

SEARCH = 'quantization.csv', 'quantization.json'


def write_record(result: DeployResult) -> Path:
    """Writes :data:`.description.RECORD` beside the ONNX file, whole or not at all."""
    path = result.onnx.with_name(RECORD)
    write_whole(path, json.dumps(_plain(record(result)), indent=4) + '\n')
    return path


def write_search(folder: Path, search: Search) -> list[Path]:
    """Writes :data:`SEARCH`: a row for each layer, and all that was tried."""
    rows = list(search.rows())
    content = dict(
        max_drop=search.max_drop,
        fp32=dict(search.fp32),
        chosen=asdict(search.chosen),
        trials=[asdict(each) for each in search.trials],
        layers=rows,
    )
    texts = csv_text(rows), json.dumps(_plain(content), indent=4) + '\n'
    paths = [folder / name for name in SEARCH]
    for path, text in zip(paths, texts):
        write_whole(path, text)
    return paths


def record(result: DeployResult) -> dict[str, Any]:
    """Returns what :data:`.description.RECORD` holds."""
    return dict(
        date=datetime.datetime.now().astimezone().isoformat(timespec='seconds'),
        machine=device_name('cpu'),
        verified=result.verified,
        files={
            name: dict(
                differences=[asdict(row) | dict(within=row.within) for row in rows],
                agreement=_agreement(result, name),
            )
            for name, rows in result.comparisons.items()
        },
        speed=(
            asdict(result.speed) | dict(ratio=result.speed.ratio, slower=result.speed.slower)
            if result.speed
            else None
        ),
        max_drop=asdict(result.search.chosen) if result.search else None,
        seconds=result.seconds,
        notes=result.notes,
    )


def _agreement(result: DeployResult, name: str) -> dict[str, Any] | None:
    agreement = result.agreements.get(name)
    return asdict(agreement) | dict(enough=agreement.enough) if agreement else None


def _plain(value: Any) -> Any:
    """A value as JSON has it, which knows no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
