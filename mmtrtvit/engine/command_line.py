"""What the command-line tools have in common."""

import argparse
import os
import sys
import time
from collections.abc import Callable

from mmengine.config import DictAction

from ..errors import UserError, message
from .distributed import leave_processes

# Where a launcher tells a process its number on this machine.
LOCAL_RANKS = {
    'pytorch': 'LOCAL_RANK',
    'slurm': 'SLURM_LOCALID',
    'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK',
}
# Seconds that the others leave the first process to report an error, which ends them all.
PATIENCE = 10
# Exit code after Ctrl-C, as shells have it.
STOPPED = 130


def new_parser(doc: str) -> argparse.ArgumentParser:
    """Makes a parser without arguments.

    Args:
        doc: Docstring of the tool; what follows its first line ends the help.
    """
    first, _, rest = doc.partition('\n')
    return argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )


class Options(DictAction):
    """Values by the keys of a config, KEY=VALUE each."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for value in values:
            if '=' not in value:
                parser.error(f'{option_string} {value}: expected KEY=VALUE, without spaces')
        super().__call__(parser, namespace, values, option_string)


def make_parser(doc: str) -> argparse.ArgumentParser:
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
    """Adds the argument that replaces values of a config; ``what`` names it in the help."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help=f'values to replace in the {what}, lists as key="[a,b]"',
    )


def positive(text: str) -> int:
    """Returns a number of at least 1, as the type of an argument."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'expected a number of at least 1, not {text!r}')
    return int(text)


def run_tool(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Runs a tool; what its user can mend ends it with a message and exit code 1, Ctrl-C with 130.

    Args:
        main: The tool's work. A KeyboardInterrupt may carry a sentence on how to go on.
        args: What it is called with.
    """
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    launcher = getattr(args, 'launcher', 'none')
    is_first = os.environ.get(LOCAL_RANKS.get(launcher, ''), '0') == '0'
    try:
        main(args)
    except KeyboardInterrupt as stop:
        if is_first:
            print('\nstopped', *stop.args, sep='; ', file=sys.stderr)
        sys.exit(STOPPED)
    except (UserError, OSError) as error:
        if message(error) is None:
            raise
        if not is_first:
            time.sleep(PATIENCE)
        sys.exit(f'error: {message(error)}')
    if launcher != 'none':
        leave_processes()
