"""Configs: reading them, and merging the command line into them."""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml
from mmengine.config import Config
from mmengine.runner import Runner

from ..errors import UserError, did_you_mean, listed, similar
from .augment import AUGMENTATIONS, use_augmentations
from .classes import map_by_name, spread_metainfo
from .hosts import without_onedl_notice

SUFFIXES = ('.py', '.json', '.yaml', '.yml')
KNOWN_KEYS = {
    *inspect.signature(Runner.__init__).parameters,
    'runner_type',
    'metainfo',
    'trackers',
    *AUGMENTATIONS,
}


def read_config(
    path: str | Path,
    options: Mapping[str, Any] | None = None,
    *,
    work_dir: str | Path | None = None,
    launcher: str = 'none',
) -> Config:
    """Reads a config file and completes it for a run.

    A top-level ``metainfo`` is spread over data sets and heads, and data sets of COCO files find
    classes by name, see :mod:`~.classes`. Keys ``augment_*`` change the training data, see
    :mod:`~.augment`.

    Args:
        path: The config file.
        options: Values by dotted key, as ``--cfg-options`` gives them.
        work_dir: Folder of the run; default: the config's own, or ``work_dirs/<name of the file>``.
        launcher: What started the processes of the run: none, pytorch, slurm or mpi.

    Raises:
        UserError: If the file or an option cannot be used.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f'no config file {path}.{_near(path)}')
    if path.suffix not in SUFFIXES:
        raise UserError(
            f'{path} is not a config: its name does not end with {", ".join(SUFFIXES)}.'
        )
    try:
        with without_onedl_notice():
            config = Config.fromfile(path)
    except Exception as error:
        _raise(error, path)
    for key in options or {}:
        if not _belongs_to_hook(key, options):
            _check_option(config, key)
    try:
        config.merge_from_dict(dict(options or {}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        given = ' '.join(f'{key}={value}' for key, value in options.items())
        raise UserError(f'--cfg-options {given}: {error}') from error
    spread_metainfo(config)
    map_by_name(config)
    use_augmentations(config)
    config.launcher = launcher
    config.work_dir = str(work_dir or config.get('work_dir') or Path('work_dirs', path.stem))
    return config


def config_in(work_dir: str | Path) -> Path:
    """Returns the config that a run left in its work dir.

    Raises:
        UserError: If there is none, or more than one.
    """
    found = sorted(Path(work_dir).glob('*.py'))
    if len(found) != 1:
        there = f' ({listed(file.name for file in found)})' if found else ''
        raise UserError(
            f'{Path(work_dir).absolute()} has {len(found)} configs{there}: say which one these '
            'weights were trained with, --config FILE'
        )
    return found[0]


def _near(path: Path) -> str:
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    if folder != path.parent:
        return f' The folder is missing, too; what exists of it is {folder.absolute()}.'
    names = sorted(file.name for file in folder.iterdir() if file.suffix in SUFFIXES)
    here = f' In that folder are: {listed(names, 10)}.' if names else ''
    return did_you_mean(path.name, names) or here


def _raise(error: Exception, path: Path) -> NoReturn:
    """Raises ``error`` as a UserError if a config file is the cause of it."""
    files, line = _trace(error)
    file = files[-1] if files else str(path.absolute())
    where = file + (f' (a _base_ of {files[-2]})' if len(files) > 1 else '')
    if isinstance(error, SyntaxError):
        message = f'{where}, line {error.lineno}: {error.msg}: {(error.text or "").strip()}'
    elif not Path(file).exists():
        message = f'{files[-2]} has a _base_ that does not exist: {file}.{_near(Path(file))}'
    elif isinstance(error, ImportError):
        message = f'{where}: {error.__cause__ or error}'
    elif isinstance(error, UserError | yaml.YAMLError):
        message = f'{where}: {error}'
    elif files:
        position = f', line {line}' if line else ''
        message = f'{where}{position}: {type(error).__name__}: {error}'
    else:
        raise error
    raise UserError(message) from error


def _trace(error: Exception) -> tuple[list[str], int | None]:
    """Returns the config files that were being read, the last one inmost, and the line in it.

    MMEngine's errors do not name the file, but the calls that they come out of have it.
    """
    files: list[str] = []
    line = None
    trace = error.__traceback__
    while trace:
        frame = trace.tb_frame
        if frame.f_code.co_name in ('_file2dict', '_is_lazy_import', '_parse_lazy_import'):
            name = str(Path(frame.f_locals['filename']).resolve())
            if name not in files:
                files.append(name)
        elif str(Path(frame.f_code.co_filename).resolve()) in files:
            line = trace.tb_lineno
        trace = trace.tb_next
    return files, line


def _belongs_to_hook(key: str, options: Mapping[str, Any]) -> bool:
    """Returns whether an option is one of a hook that the options bring with its type."""
    hook = re.match(r'default_hooks\.\w+(?=\.)', key)
    return hook is not None and f'{hook[0]}.type' in options


def _check_option(config: Config, key: str) -> None:
    """Refuses a key that would silently make a new branch of the config.

    A new leaf of a dict that exists is welcome, and so are the Runner's own arguments.
    """
    branch: Any = config
    *parents, leaf = key.split('.')
    known = {*config, *KNOWN_KEYS}
    if not parents and leaf not in known and similar(leaf, known):
        _refuse(config, key, f'the config has no {leaf}')
    for depth, part in enumerate([*parents, leaf]):
        if isinstance(branch, list) and part.isdecimal() and int(part) < len(branch):
            branch = branch[int(part)]
            if depth == len(parents) and not isinstance(branch, dict):
                whole = '.'.join(parents)
                raise UserError(
                    f'--cfg-options {key}: MMEngine replaces no single value of a list. Give all '
                    f'of it: {whole}="[...]"'
                )
        elif isinstance(branch, dict | Config) and (
            depth == len(parents) or branch.get(part) is not None
        ):
            branch = branch.get(part)
        elif not depth and part in KNOWN_KEYS - {*config}:
            return
        else:
            _refuse(config, key, f'{".".join(parents[:depth]) or "the config"} has no {part}')


def _refuse(config: Config, key: str, reason: str) -> NoReturn:
    keys = list(_dotted_keys(config))
    likely = [name for name in keys if name.endswith(f'.{key}')] or similar(key, keys, 1)
    hint = f' Did you mean {" or ".join(likely[:3])}?' if likely else ''
    raise UserError(f'--cfg-options {key}: {reason}.{hint} New keys belong in the config file.')


def _dotted_keys(branch: Any, path: str = '') -> Iterator[str]:
    parts = enumerate(branch) if isinstance(branch, list | tuple) else branch.items()
    for part, value in parts:
        yield f'{path}{part}'
        if isinstance(value, dict | list | tuple):
            yield from _dotted_keys(value, f'{path}{part}.')
