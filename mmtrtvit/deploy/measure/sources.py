"""What the models that a benchmark is asked for are, as their names and the files tell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...analysis.networks import TIMM
from ...engine.config import SUFFIXES, config_in
from ...errors import UserError, did_you_mean
from ...files import read_json
from ...media import find_media
from ...paths import config_names, config_path
from ...runtime import read_work_dir
from ...runtime.sessions.opening import GRAPHS
from ..description import RECORD

WEIGHTS = '.pth', '.pt', '.bin', '.safetensors'
EXPECTED = (
    f'Expected a config, weights ({", ".join(WEIGHTS)}), the work dir of a training or of a '
    f'deployment, an exported file ({", ".join(GRAPHS)}), or {TIMM}NAME.'
)


@dataclass(frozen=True)
class Source:
    """A model.

    Attributes:
        name: What it is called in the results: the text that asked for it.
        kind: ``'timm'``, ``'config'``, ``'weights'`` or ``'file'``.
        target: What is opened: a name of timm, a config, weights or the work dir of a training, or
            an exported file.
        config: The config of its network; None if that is not known.
        checkpoint: The weights whose metrics are its own, too; None if there are none.
    """

    name: str
    kind: str
    target: str
    config: str | None = None
    checkpoint: str | None = None

    @property
    def is_random(self) -> bool:
        """Whether its weights are random numbers."""
        return self.kind in ('timm', 'config')


def find_sources(models: Sequence[str | Path], config: str | Path | None = None) -> list[Source]:
    """Returns what models are; one that is named again gets a number.

    Args:
        models: As on the command line.
        config: Config of the weights; default: the one in the folder of their training.

    Raises:
        UserError: If there is no such model, or weights without a config.
    """
    found: list[Source] = []
    for model in map(str, models):
        source = _find(model, str(config) if config else None)
        again = sum(each.target == source.target for each in found)
        found.append(replace(source, name=f'{model} #{again + 1}') if again else source)
    return found


def _find(model: str, config: str | None) -> Source:
    path = Path(model).expanduser()
    if model.startswith(TIMM):
        return Source(model, 'timm', model)
    if path.suffix in GRAPHS:
        return _exported(model, path)
    if (path / 'deploy.json').is_file():
        return _exported(model, read_work_dir(path).net)
    if path.suffix in WEIGHTS or path.is_dir() or '://' in model:
        return Source(model, 'weights', model, config or _config_of(model, path), model)
    if path.is_file() and path.suffix in SUFFIXES:
        return Source(model, 'config', model, model)
    ours = [name.removesuffix('.py') for name in config_names()]
    if model.removesuffix('.py') not in ours:
        raise UserError(f'{model}: no such model.{did_you_mean(model, ours)} {EXPECTED}')
    target = config_path(f'{model.removesuffix(".py")}.py')
    return Source(model, 'config', target, target)


def _config_of(model: str, path: Path) -> str:
    if '://' in model:
        raise UserError(f'{model}: weights from elsewhere need the --config of their model.')
    if not path.exists():
        raise UserError(f'{model}: there are no such weights. {EXPECTED}')
    return str(config_in(path if path.is_dir() else path.parent))


def _exported(model: str, path: Path) -> Source:
    """A file, with what lies beside it if ``tools/deploy.py`` wrote it.

    The metrics of its weights are its own if it is of single precision and was found to do the
    same.
    """
    try:
        detail = read_json(path.with_name('detail.json'))
        config, weights = (str(detail['codebase'][key]) for key in ('config', 'pth'))
        exact = detail['settings']['precision'] == 'fp32'
    except (OSError, ValueError, KeyError, TypeError):
        return Source(model, 'file', str(path))
    proven = exact and _is_verified(path)
    return Source(model, 'file', str(path), config, weights if proven else None)


def _is_verified(path: Path) -> bool:
    try:
        return read_json(path.with_name(RECORD))['verified'] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Returns the image files that paths stand for, as :func:`mmtrtvit.media.find_media` does.

    Raises:
        UserError: If a path has none, or one is no image.
    """
    media, problems = find_media(paths)
    problems += [f'{medium} is no image.' for medium in media if not medium.is_image]
    if problems:
        raise UserError(f'--images: {problems[0]}')
    return [Path(str(medium.source)) for medium in media]
