"""Errors of the user's input or environment, in one message each."""

import difflib
import errno
import re
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

# What the system says of a file or folder that cannot be used, and what to do.
ADVICE = {
    errno.ENOSPC: 'Free some space, or choose another disk.',
    errno.EDQUOT: 'Free some space, or choose another disk.',
    errno.EFBIG: 'The disk, or your limit (ulimit -f), takes no file of this size: choose another.',
    errno.EROFS: 'Choose another folder.',
    errno.EACCES: 'Change its permissions, or choose another folder.',
    errno.EPERM: 'Change its permissions, or choose another folder.',
    errno.ENOTDIR: 'A part of this path is a file: choose another folder.',
    errno.EEXIST: 'A file has the name of the folder to be made: choose another folder.',
    errno.EISDIR: 'A folder has the name of the file to be written: choose another name.',
}


class UserError(ValueError):
    """Bad input: the message names what is wrong, what was expected and what to do."""


def message(error: Exception) -> str | None:
    """Returns what a tool tells its user about an error, or None if it needs a traceback.

    Args:
        error: A :class:`UserError`, or an OSError of a full disk or of a place that cannot be
            written.
    """
    if isinstance(error, UserError):  # of a worker that loads data with its traceback before it
        text = str(error).rpartition(f'{UserError.__module__}.{UserError.__name__}: ')[2].rstrip()
        return as_called(text)
    if isinstance(error, OSError) and error.errno in ADVICE:
        place = f'{error.filename2 or error.filename}: ' if error.filename else ''
        return f'{place}{error.strerror}. {ADVICE[error.errno]}'
    return None


def as_called(text: str, program: str | None = None) -> str:
    """Names the tools in a text as the command ``mmtrtvit`` does, if that runs the program.

    Args:
        text: With names like ``python tools/check_data.py``, which becomes ``mmtrtvit check-data``.
        program: What runs; default: the first word of the command line.
    """
    program = sys.argv[0] if program is None else program
    if not program.startswith('mmtrtvit ') and Path(program).name != 'mmtrtvit':
        return text
    return re.sub(
        r'(?<![\w/])(?:python )?tools/(\w+)\.py',
        lambda match: f'mmtrtvit {match[1].replace("_", "-")}',
        text,
    )


def listed(names: Iterable[object], most: int = 5) -> str:
    """Returns names with commas between; of more than ``most``, the first ones and ``...``."""
    first = [str(name) for name in islice(names, most + 1)]
    return ', '.join([*first[:most], '...'] if len(first) > most else first)


def similar(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Returns those of ``names`` that resemble ``name``, the likeliest first."""
    lower = {candidate.lower(): candidate for candidate in names}
    return [lower[match] for match in difflib.get_close_matches(name.lower(), lower, count)]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Returns a sentence with the names that resemble ``name``, or nothing."""
    matches = similar(name, names)
    return f' Did you mean {" or ".join(matches)}?' if matches else ''
