"""Arguments that several command lines take: their types, and one option."""

import argparse
import threading


def positive(text: str) -> int:
    """Parses a whole number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'expected a number of at least 1, not {text!r}')
    return int(text)


def batch_size(text: str) -> int | str:
    """Parses a whole number of at least 1, or ``auto``."""
    return text if text == 'auto' else positive(text)


def seconds(text: str) -> float:
    """Parses a time above 0."""
    if not 0 < float(text) <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError('expected a number of seconds above 0')
    return float(text)


def share(text: str) -> float:
    """Parses a share above 0, written as ``0.1`` or ``10%``."""
    try:
        value = float(text.removesuffix('%')) / (100 if text.endswith('%') else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'expected a share above 0, as 0.1 or 10%, not {text!r}')
    return value


def part(text: str) -> float:
    """Parses a share between 0 and 1, written as for :func:`share`."""
    value = share(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f'expected a share between 0 and 1, not {text!r}')
    return value


def milliseconds(text: str) -> float:
    """Parses a time above 0, written as ``10ms``, ``10`` (milliseconds) or ``0.01s``."""
    number, factor = text, 1
    for unit, each in (('ms', 1), ('s', 1000)):
        if text.endswith(unit):
            number, factor = text.removesuffix(unit), each
            break
    try:
        value = float(number) * factor
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'expected a time above 0, as 10ms, not {text!r}')
    return value


def size(text: str) -> tuple[int, int]:
    """Parses ``HEIGHTxWIDTH``."""
    height, _, width = text.partition('x')
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f'{text!r} is not a size, expected HEIGHTxWIDTH')
    return int(height), int(width)


def add_timeout(
    parser: argparse.ArgumentParser,
    what: str = 'a run of an ONNX file; engines, OpenVINO and weights cannot be stopped',
) -> None:
    """Adds the time that one run of a model may take.

    Args:
        parser: Parser of a command line.
        what: What the help says takes that time at most.
    """
    parser.add_argument('--timeout', type=seconds, metavar='SECONDS', help=f'most time of {what}')
