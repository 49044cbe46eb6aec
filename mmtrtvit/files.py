"""Files that are whole or not there at all, and texts as every system writes them."""

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

GUESSES = 'gb18030', 'shift_jis', 'cp1252'  # of JSON that is not UTF-8, and in which order


@contextmanager
def whole_file(path: Path, *, suffix: str | None = None, sync: bool = False) -> Iterator[Path]:
    """Yields a new, empty file beside ``path``, which moves to ``path`` when the block ends.

    After an error it is removed, and what was there under ``path`` stays. A link under ``path`` is
    replaced, not followed. The file has the mode of the one that it replaces, else that of any new
    file. Its name is unlike all others: ``<stem>.<random>.part<suffix>``.

    Args:
        path: File to write; its folder is made if need be.
        suffix: End of the temporary name. Default: that of ``path``, by which most writers go.
        sync: Wait until the bytes are on the disk, so that the file survives a loss of power.

    Raises:
        OSError: If it cannot be written; the error names ``path``.
    """
    suffix = path.suffix if suffix is None else suffix
    part = path.with_name(f'{path.stem}.{secrets.token_hex(8)}.part{suffix}')
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path, part):
        part.open('xb').close()  # fails where something is, a link included
        try:
            yield part
            if path.is_file() and not path.is_symlink():
                part.chmod(path.stat().st_mode)
            if sync:
                _sync(part)
            os.replace(part, path)
        finally:
            with suppress(OSError):
                part.unlink()


def write_whole(path: str | Path, data: bytes | memoryview | str, *, sync: bool = False) -> None:
    """Writes a file at once, as :func:`whole_file` does; a killed write leaves ``*.part``.

    Args:
        path: File to write; its folder is made if need be.
        data: Bytes, or a text, which becomes UTF-8.
        sync: See :func:`whole_file`.

    Raises:
        OSError: If it cannot be written; the error names ``path``.
    """
    with whole_file(Path(path), suffix='', sync=sync) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def read_text(path: str | Path) -> str:
    """Returns a text in UTF-8, UTF-16 or UTF-32, without the marks of the order of its bytes.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is none of these. The message continues a sentence that begins with the
            name of the file.
    """
    content = Path(path).read_bytes()
    try:
        return content.decode(json.detect_encoding(content)).replace('\ufeff', '')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'is neither a text in UTF-8 nor one in UTF-16 (byte {error.start + 1} is '
            f'0x{content[error.start]:02x}): save it as UTF-8.'
        ) from error


def read_json(path: str | Path) -> Any:
    """Returns what a JSON file holds, see :func:`parse_json`.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not JSON.
    """
    return parse_json(Path(path).read_bytes(), path)


def parse_json(data: bytes, name: str | Path) -> Any:
    """Returns what a JSON file in UTF-8, UTF-16 or UTF-32 holds.

    Args:
        data: The bytes of the file.
        name: The file, for messages.

    Raises:
        ValueError: If it is not JSON. The message continues a sentence that begins with the name
            of the file.
    """
    try:
        text = data.decode(json.detect_encoding(data[:4]))
    except UnicodeDecodeError as error:
        raise ValueError(f'is not in UTF-8, as JSON files are{_guess(data, name)}') from error
    del data  # the memory of a large file
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError('is nested too deeply for a JSON file.') from error
    except ValueError as error:
        raise ValueError(f'is not a JSON file: {error}') from error


def _guess(data: bytes, name: str | Path) -> str:
    for encoding in GUESSES:
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return f', but perhaps in {encoding}. Convert it: iconv -f {encoding} -t utf-8 {name}'
    return '. Write it anew in UTF-8.'


def remove_leftovers(path: Path) -> None:
    """Removes what killed calls of :func:`write_whole` left of ``path``.

    Only for who knows that nobody else writes that file now.
    """
    name = re.compile(re.escape(path.stem) + r'\.[0-9a-f]{16}\.part')
    for other in path.parent.glob('*.part'):
        if name.fullmatch(other.name):
            other.unlink()


def _sync(path: Path) -> None:
    with path.open('rb') as file:
        os.fsync(file.fileno())


@contextmanager
def _naming(path: Path, part: Path) -> Iterator[None]:
    """Lets errors of the block name ``path``.

    They would name ``part`` or, as errors of writes to a full disk, no file at all.
    """
    try:
        yield
    except OSError as error:
        if error.errno and error.filename in (None, part, str(part)):
            error.filename = str(path)
        raise
