"""Arguments that several command lines take: their types, and one option."""

import argparse
import threading


def positive(text: str) -> int:
    """Parses a whole number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'expected a number of at least 1, not {text!r}')
    return int(text)


def seconds(text: str) -> float:
    """Parses a time above 0."""
    if not 0 < float(text) <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError('expected a number of seconds above 0')
    return float(text)


def size(text: str) -> tuple[int, int]:
    """Parses ``HEIGHTxWIDTH``."""
    height, _, width = text.partition('x')
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f'{text!r} is not a size, expected HEIGHTxWIDTH')
    return int(height), int(width)


def add_timeout(
    parser: argparse.ArgumentParser,
    what: str = 'a run of an ONNX file; an engine cannot be stopped, nor can weights',
) -> None:
    """Adds the time that one run of a model may take.

    Args:
        parser: Parser of a command line.
        what: What the help says takes that time at most.
    """
    parser.add_argument('--timeout', type=seconds, metavar='SECONDS', help=f'most time of {what}')
