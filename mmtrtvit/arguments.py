"""What several command lines share: the form of their help, types of arguments, one option."""

import argparse
import re
import textwrap
import threading
from collections.abc import Iterator

# A word of a command: what stands in quotes or in $() is one.
WORD = re.compile(r"""(?:"[^"]*"|'[^']*'|\$\([^)]*\)|[^\s"'])+""")


# A term, at least two spaces, what it means.
ROW = re.compile(r' +\S+(?: \S+)*  +(?=[^\s#])')


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Fits what stands before and after the options to the width of the terminal.

    Paragraphs are filled, and so are the meanings in a list of terms. Other lines that begin with
    spaces are commands: one that is too long goes on behind a backslash, and its comment stands
    above it.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        joined = re.sub(r'\\\n\s*', '', text.strip('\n'))  # commands of several lines
        return '\n'.join(_fitted(joined.splitlines(), width))


def _fitted(lines: list[str], width: int) -> Iterator[str]:
    paragraph: list[str] = []
    column = 0  # where the paragraph's text begins
    for line in [*lines, '']:
        if paragraph and line and len(line) - len(line.lstrip()) == column:
            paragraph.append(line.strip())
            continue
        if paragraph:
            yield _filled(paragraph, column, width)
        row = ROW.match(line)
        column = row.end() if row else 0
        paragraph = []
        if row or line and not line.startswith(' '):
            paragraph.append(line)
        else:
            yield from _command(line, width)


def _filled(lines: list[str], column: int, width: int) -> str:
    text = ' '.join([lines[0][column:], *lines[1:]])
    head, indent = lines[0][:column], ' ' * column
    return textwrap.fill(
        text, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False
    )


def _command(line: str, width: int) -> Iterator[str]:
    if len(line) <= width:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())]
    command, mark, comment = line.partition(' # ')
    if mark:
        yield f'{indent}# {comment}'
    words = WORD.findall(command)
    part = indent + words[0]
    for word in words[1:]:
        if len(f'{part} {word} \\') > width:
            yield f'{part} \\'
            part = f'{indent}    {word}'
        else:
            part += f' {word}'
    yield part


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
