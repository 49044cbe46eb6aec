"""Work dir: the folder that ``tools/deploy.py`` writes, and what its files say about the model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .legend import Legend
from .schema import read_json

TASKS = 'Classifier', 'Detector', 'Segmentor'


@dataclass(frozen=True)
class Suppression:
    """Non-maximum suppression: ``nms`` of :class:`Params`."""

    iou_threshold: float = 0.5


@dataclass(frozen=True)
class Params:
    """What it takes to understand the graph's outputs.

    Attributes:
        mask_thr_binary: Least probability of a pixel that belongs to a mask.
        nms: How detections that overlap were suppressed.
        num_classes: Number of classes of a segmentor; None if it is not told.
        align_corners: Whether a segmentor's logits are enlarged by the centres of the corners.
        threshold: Least probability of the one class of a segmentor with one output channel.
    """

    mask_thr_binary: float = 0.5
    nms: Suppression | None = None
    num_classes: int | None = None
    align_corners: bool = False
    threshold: float = 0.3


@dataclass(frozen=True)
class ModelEntry:
    """One of ``models`` in ``deploy.json``."""

    net: str


@dataclass(frozen=True)
class DeployFile:
    """``deploy.json``."""

    task: str
    models: list[ModelEntry]


@dataclass(frozen=True)
class Task:
    """One of ``pipeline.tasks``: the transforms, the net and the post-processing."""

    transforms: list[dict[str, Any]] = field(default_factory=list)
    params: Params = field(default_factory=Params)


@dataclass(frozen=True)
class Tasks:
    """``pipeline`` in ``pipeline.json``."""

    tasks: list[Task]


@dataclass(frozen=True)
class PipelineFile:
    """``pipeline.json``."""

    pipeline: Tasks
    classes: tuple[str, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None


@dataclass(frozen=True)
class WorkDir:
    """An exported model, as its ``deploy.json`` and ``pipeline.json`` describe it.

    Attributes:
        path: The folder.
        task: ``'Classifier'``, ``'Detector'`` or ``'Segmentor'``.
        net: The ONNX file, the TensorRT engine or OpenVINO's model.
        transforms: What happens to an image before the graph, in MMDeploy's words.
        params: What it takes to understand the graph's outputs.
        classes: Names by label; empty if ``pipeline.json`` has none.
        palette: Colours by label, RGB; empty if ``pipeline.json`` has none.
    """

    path: Path
    task: str
    net: Path
    transforms: list[dict[str, Any]]
    params: Params
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()

    @property
    def legend(self) -> Legend:
        """Names and colours of the classes."""
        return Legend(self.classes, self.palette)


def read_work_dir(path: str | Path) -> WorkDir:
    """Reads ``deploy.json`` and ``pipeline.json``.

    Raises:
        UserError: If one of them, or something in it, is missing or of another type, or if the
            model is not a file of this folder.
    """
    path = Path(path).expanduser()
    for name in ('deploy.json', 'pipeline.json'):
        if not (path / name).exists():
            raise UserError(
                f'there is no {path / name}. Expected the work dir that tools/deploy.py writes.'
            )
    deploy = read_json(path / 'deploy.json', DeployFile)
    pipeline = read_json(path / 'pipeline.json', PipelineFile)
    if deploy.task not in TASKS:
        raise UserError(
            f'{path / "deploy.json"}: task is {deploy.task!r}, expected one of: {", ".join(TASKS)}.'
        )
    if not deploy.models:
        raise UserError(f'{path / "deploy.json"}: models is empty, expected one with its net.')
    tasks = pipeline.pipeline.tasks
    if len(tasks) != 3:
        raise UserError(
            f'{path / "pipeline.json"}: pipeline.tasks has {len(tasks)} parts, expected 3: the '
            'transforms, the net and the post-processing.'
        )
    return WorkDir(
        path=path,
        task=deploy.task,
        net=_inside(path, deploy.models[0].net),
        transforms=tasks[0].transforms,
        params=tasks[2].params,
        classes=pipeline.classes or (),
        palette=pipeline.palette or (),
    )


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder itself: a description from elsewhere may not name any other."""
    if name in ('', '.', '..') or Path(name).name != name or '\0' in name or '\\' in name:
        raise UserError(
            f'{folder / "deploy.json"}: models.0.net is {name!r}, expected the name of a file in '
            'this folder.'
        )
    return folder / name
