"""Shows what is installed and where the configs are, and runs scripts with mmtrtvit imported first.

Without a command: versions, what kernels mmcv.ops has, and the configs.

Examples:
  python -m mmtrtvit config retinanet_trtvit_b.py
  python -m mmtrtvit run mmtrtvit::train.py CONFIG
  python -m mmtrtvit run mmdet::test.py CONFIG CHECKPOINT
  python -m mmtrtvit run my_script.py ARGUMENTS
"""

import argparse
import runpy
import sys
import textwrap
from pathlib import Path

from . import config_path
from .environment import environment
from .errors import UserError, did_you_mean
from .paths import config_names, folder, tool_path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        'python -m mmtrtvit',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command')
    config = commands.add_parser('config', help='print the path of a config')
    config.add_argument('name', help='as listed, or PACKAGE::NAME for one of mmdet, mmseg, ...')
    run = commands.add_parser('run', help='run a script after importing mmtrtvit')
    run.add_argument('script', help='a file, or PACKAGE::NAME for a tool of mmtrtvit, mmdet, ...')
    run.add_argument('arguments', nargs=argparse.REMAINDER, help='arguments of the script')
    return parser.parse_args()


def run_script(script: str, arguments: list[str]) -> None:
    """Does ``import mmtrtvit`` and then what ``python SCRIPT ARGUMENTS`` does.

    Args:
        script: A file, or a name for :func:`~.paths.tool_path`.
        arguments: What follows the script on the command line.

    Raises:
        UserError: If there is no such script.
    """
    path = Path(tool_path(script) if '::' in script else script)
    if not path.is_file():
        hint = did_you_mean(path.name, (file.name for file in path.parent.glob('*.py')))
        raise UserError(
            f'no file {path}.{hint} A tool of a package is written like mmdet::test.py.'
        )
    sys.argv = [str(path), *arguments]
    sys.path[0] = str(path.resolve().parent)
    runpy.run_path(str(path), run_name='__main__')


def print_summary() -> None:
    names = config_names()
    width = max(map(len, names))
    for name, value in dict(environment(), configs=folder('configs')).items():
        print(f'{name:<12} {value}')
    columns = '  '.join(name.ljust(width) for name in names)
    print(textwrap.indent(textwrap.fill(columns, 100), '  '))


def main(args: argparse.Namespace) -> None:
    if args.command == 'config':
        print(config_path(args.name))
    elif args.command == 'run':
        run_script(args.script, args.arguments)
    else:
        print_summary()


if __name__ == '__main__':
    try:
        main(parse_args())
    except UserError as error:
        sys.exit(f'error: {error}')
