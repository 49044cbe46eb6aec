"""Command line of all tools: parser, options, errors; imports neither PyTorch nor MMEngine."""

import argparse
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..arguments import HelpFormatter
from ..errors import UserError, as_called, message
from ..signals import exit_code

# Where a launcher tells a process its number on this machine.
LOCAL_RANKS = {
    'pytorch': 'LOCAL_RANK',
    'slurm': 'SLURM_LOCALID',
    'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK',
}
# Seconds that the others leave the first process to report an error, which ends them all.
PATIENCE = 10


class Parser(argparse.ArgumentParser):
    """A parser whose help names the tools as the command ``mmtrtvit`` does, if that runs one.

    There it has ``mmtrtvit train`` for ``python tools/train.py`` and so on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        examples = as_called(self.epilog or '', self.prog)
        self.epilog = re.sub(r'(torchrun .*)(?=mmtrtvit )', r'\1--no-python ', examples)

    def format_help(self) -> str:
        """Returns the help."""
        return as_called(super().format_help(), self.prog)


def new_parser(doc: str) -> Parser:
    """Makes a parser without arguments.

    Args:
        doc: Docstring of the tool; what follows its first line ends the help.
    """
    first, _, rest = doc.partition('\n')
    return Parser(description=first, epilog=rest, formatter_class=HelpFormatter)


def make_parser(doc: str) -> Parser:
    """Makes a parser with the arguments that MM users expect of a tool for a run.

    Args:
        doc: As for :func:`new_parser`.
    """
    parser = new_parser(doc)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', metavar='DIR', help='folder of the run (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--log-level',
        choices=('DEBUG', 'INFO', 'WARNING'),
        help='what the terminal shows: DEBUG all that the log file has, INFO a summary and the '
        "progress, WARNING only what may be wrong (default: the config's log_level)",
    )
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='what started the processes of a run on several GPUs (default: none)',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def add_cfg_options(parser: argparse.ArgumentParser, what: str = 'config') -> None:
    """Adds the argument that replaces values of a config.

    The parser keeps the texts; :func:`run_tool` makes values of them, which takes MMEngine.

    Args:
        parser: Parser of a tool.
        what: What the help calls the config.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        type=key_value,
        metavar='KEY=VALUE',
        help=f'values to replace in the {what}, lists as key="[a,b]"',
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Adds the precision in which weights are run.

    Args:
        parser: Parser of a tool.
    """
    parser.add_argument(
        '--precision',
        choices=('fp32', 'bf16', 'fp16'),
        help='run a fused copy of the weights, whose backbone, neck and heads compute in it: bf16 '
        'on processors with AVX512-BF16 or AMX and on GPUs, fp16 on GPUs',
    )


def key_value(text: str) -> str:
    """Returns a text with a key and a value, as the type of an argument."""
    if '=' not in text:
        raise argparse.ArgumentTypeError(f'{text}: expected KEY=VALUE, without spaces')
    return text


def read_values(texts: Sequence[str]) -> dict[str, Any]:
    """Returns values by the keys of a config: ``{'a.b': [1, 'x']}`` for ``['a.b=[1,x]']``.

    Raises:
        UserError: If brackets of a text do not match, or a value is a dict.
    """
    from mmengine.config import DictAction

    result = argparse.Namespace()
    try:
        DictAction(['--cfg-options'], 'values')(None, result, texts)
    except AssertionError as error:  # MMEngine's, of brackets
        raise UserError(f'--cfg-options {" ".join(texts)}: {error}') from error
    except RecursionError as error:  # MMEngine's, of braces
        raise UserError(
            f'--cfg-options {" ".join(texts)}: a value is a number, a word or a list of them. Set '
            'each key of a dict: KEY.NAME=VALUE'
        ) from error
    return result.values


def command_line(*, folders: bool = True) -> str:
    """Returns what this process was started with, as a shell reads it.

    Args:
        folders: Whether absolute paths keep their folders, which are those of this machine.
    """
    program, *words = (
        word if folders or not os.path.isabs(word) else os.path.basename(word) for word in sys.argv
    )
    ours = program.startswith('mmtrtvit ')  # as the command calls its tools
    start = program.split() if ours else ['python', program]
    return shlex.join([*start, *words])


def tell_checkpoint(checkpoint: str) -> str:
    """Returns a checkpoint as it is, but of a work dir a file of it, and prints which and why.

    Raises:
        UserError: If the work dir has none that can be used.
    """
    if not os.path.isdir(os.path.expanduser(checkpoint)):
        return checkpoint
    from ..weights.checkpoints import found_checkpoint

    file, reason = found_checkpoint(checkpoint)
    if os.environ.get('RANK', '0') == '0':
        print(f'checkpoint: {file}, {reason}')
    return str(file)


def run_tool(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Runs a tool; what its user can mend ends it with a message and exit code 1.

    Ctrl-C ends it with exit code 130, SIGTERM with 143 where it is listened to.

    Args:
        main: The tool's work. A KeyboardInterrupt may carry a sentence on how to go on.
        args: What it is called with, ``cfg_options`` as values.
    """
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    launcher = getattr(args, 'launcher', 'none')
    is_first = os.environ.get(LOCAL_RANKS.get(launcher, ''), '0') == '0'
    try:
        if getattr(args, 'cfg_options', None):
            args.cfg_options = read_values(args.cfg_options)
        main(args)
    except KeyboardInterrupt as stop:
        if is_first:
            print('\nstopped', *stop.args, sep='; ', file=sys.stderr)
        sys.exit(exit_code(stop))
    except (UserError, OSError) as error:
        if message(error) is None:
            raise
        if not is_first:
            time.sleep(PATIENCE)
        sys.exit(f'error: {message(error)}')
    if launcher != 'none':
        from .distributed import leave_processes

        leave_processes()
