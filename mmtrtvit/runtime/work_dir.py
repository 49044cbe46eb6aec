"""What the folder that ``tools/deploy.py`` writes says about its model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .legend import Legend

TASKS = 'Detector', 'Segmentor'


@dataclass(frozen=True)
class WorkDir:
    """An exported model, as its ``deploy.json`` and ``pipeline.json`` describe it.

    Attributes:
        path: The folder.
        task: ``'Detector'`` or ``'Segmentor'``.
        net: The ONNX file or the TensorRT engine.
        transforms: What happens to an image before the graph, in MMDeploy's words.
        params: What it takes to understand the graph's outputs.
        classes: Names by label; empty if ``pipeline.json`` has none.
        palette: Colours by label, RGB; empty if ``pipeline.json`` has none.
    """

    path: Path
    task: str
    net: Path
    transforms: list[dict[str, Any]]
    params: dict[str, Any]
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()

    @property
    def legend(self) -> Legend:
        """Names and colours of the classes."""
        return Legend(self.classes, self.palette)


def read_work_dir(path: str | Path) -> WorkDir:
    """Reads ``deploy.json`` and ``pipeline.json``.

    Raises:
        UserError: If one of them, or something in it, is missing.
    """
    path = Path(path).expanduser()
    deploy, pipeline = (_read(path, f'{name}.json') for name in ('deploy', 'pipeline'))
    task = _value(deploy, str, path / 'deploy.json', 'task')
    if task not in TASKS:
        raise UserError(
            f'{path / "deploy.json"}: task is {task!r}, expected one of: {", ".join(TASKS)}.'
        )
    file = path / 'pipeline.json'
    tasks = _value(pipeline, list, file, 'pipeline', 'tasks')
    if len(tasks) != 3:
        raise UserError(
            f'{file}: pipeline.tasks has {len(tasks)} parts, expected 3: the '
            'transforms, the net and the postprocessing.'
        )
    return WorkDir(
        path=path,
        task=task,
        net=path / _value(deploy, str, path / 'deploy.json', 'models', 0, 'net'),
        transforms=_value(pipeline, list, file, 'pipeline', 'tasks', 0, 'transforms'),
        params=_value(pipeline, dict, file, 'pipeline', 'tasks', 2, 'params'),
        classes=tuple(map(str, pipeline.get('classes') or ())),
        palette=tuple(tuple(color) for color in pipeline.get('palette') or ()),
    )


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise UserError(
            f'there is no {folder / name}. Expected the work dir that tools/deploy.py writes.'
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f'{folder / name} cannot be read as JSON: {error}') from error
    if not isinstance(content, dict):
        raise UserError(f'{folder / name} holds {type(content).__name__}, expected an object.')
    return content


def _value(content: Any, kind: type, file: Path, *keys: str | int) -> Any:
    """Value of a nested key that must be of a type."""
    for key in keys:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            raise UserError(
                f'{file} has no {".".join(map(str, keys))}, as tools/deploy.py writes it.'
            ) from None
    if not isinstance(content, kind):
        raise UserError(
            f'{file}: {".".join(map(str, keys))} is {content!r}, expected {kind.__name__}.'
        )
    return content
