"""The packages that a config's default_scope asks for."""

import contextlib
import importlib
import importlib.util
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TextIO

from ..errors import UserError

# printed by the onedl packages, to stdout and whatever the log level, when they are imported
NOTICES = ('Could not import OneDL',)
# What pip installs for each scope.
DISTRIBUTIONS = {
    'mmdet': 'onedl-mmdetection',
    'mmseg': 'onedl-mmsegmentation',
    'mmpretrain': "'mmtrtvit[pretrain]'",
}


class _LineFilter(io.TextIOBase):
    """Passes complete lines on, but for those with certain beginnings."""

    def __init__(self, target: TextIO, dropped: Sequence[str]) -> None:
        self._target = target
        self._dropped = tuple(dropped)
        self._rest = ''

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split('\n')
        for line in lines:
            if not line.startswith(self._dropped):
                self._target.write(line + '\n')
        return len(text)

    def flush(self) -> None:
        self._target.flush()

    def finish(self) -> None:
        self._target.write(self._rest)


@contextlib.contextmanager
def without_lines(beginnings: Sequence[str]) -> Iterator[None]:
    """Drops lines that begin in one of these ways from stdout, and nothing else."""
    lines = _LineFilter(sys.stdout, beginnings)
    try:
        with contextlib.redirect_stdout(lines):
            yield
    finally:
        lines.finish()


def without_onedl_notice() -> contextlib.AbstractContextManager[None]:
    """Drops the notices about the OneDL package from stdout."""
    return without_lines(NOTICES)


def import_host(scope: str | None) -> None:
    """Imports the data sets of the host package that ``scope`` names, so that configs find them.

    Raises:
        UserError: If the package is not installed.
    """
    if scope not in DISTRIBUTIONS:
        return
    if importlib.util.find_spec(scope) is None:
        raise UserError(
            f'the config has default_scope={scope!r}, and {scope} is not installed. '
            f'Install it with: pip install {DISTRIBUTIONS[scope]}'
        )
    with without_onedl_notice(), warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='faster_coco_eval is not installed')
        importlib.import_module(f'{scope}.datasets')
