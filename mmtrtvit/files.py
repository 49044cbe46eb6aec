"""Files that are whole or not there at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside ``path``; the file moves to ``path`` when the block ends.

    After an error it is removed, and what was there under ``path`` stays.

    Raises:
        OSError: If it cannot be written; the error names ``path``.
    """
    part = path.with_name(f'{path.stem}.part{path.suffix}')  # writers go by the suffix
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming(path, part):
            yield part
            os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def naming(path: Path, part: Path) -> Iterator[None]:
    """Lets errors of the block name ``path`` instead of ``part``, or of no file at all, as those of
    writes to a full disk do.
    """
    try:
        yield
    except OSError as error:
        if error.errno and error.filename in (None, part, str(part)):
            error.filename = str(path)
        raise
