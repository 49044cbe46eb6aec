"""The packages that a config's default_scope asks for."""

import contextlib
import importlib
import importlib.util
import io
import sys
from collections.abc import Iterator
from typing import TextIO

from ..errors import UserError

# printed by the onedl packages, to stdout and whatever the log level, when they are imported
NOTICES = ('Could not import OneDL. Skipping OneDL datasets.', 'Could not import OneDL')
DISTRIBUTIONS = {'mmdet': 'onedl-mmdetection', 'mmseg': 'onedl-mmsegmentation'}


class _LineFilter(io.TextIOBase):
    """Passes complete lines on, but for some."""

    def __init__(self, target: TextIO, dropped: tuple[str, ...]) -> None:
        self._target = target
        self._dropped = dropped
        self._rest = ''

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split('\n')
        for line in lines:
            if line not in self._dropped:
                self._target.write(line + '\n')
        return len(text)

    def flush(self) -> None:
        self._target.flush()

    def finish(self) -> None:
        self._target.write(self._rest)


@contextlib.contextmanager
def without_onedl_notice() -> Iterator[None]:
    """Drops the notices about the OneDL package from stdout, and nothing else."""
    lines = _LineFilter(sys.stdout, NOTICES)
    try:
        with contextlib.redirect_stdout(lines):
            yield
    finally:
        lines.finish()


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
    with without_onedl_notice():
        importlib.import_module(f'{scope}.datasets')
