"""The tools of mmtrtvit as one command, from any folder.

Without a command: what is installed, the configs and the commands.

Examples:
  mmtrtvit demo
  mmtrtvit train $(mmtrtvit config retinanet_trtvit_b.py) --work-dir work_dirs/first
  mmtrtvit deploy --help
  mmtrtvit run mmdet::test.py CONFIG CHECKPOINT
  mmtrtvit run my_script.py ARGUMENTS
"""

import argparse
import ast
import contextlib
import runpy
import shutil
import sys
import textwrap
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from . import __version__, config_path
from .arguments import HelpFormatter
from .engine import command_line
from .environment import environment
from .errors import UserError, did_you_mean, message
from .paths import config_names, folder, tool_path

FIRST_DEMO = 'retinanet_trtvit_b'
OWN = {
    'demo': 'Generates data, trains a model, evaluates it and draws what it finds.',
    'config': 'Prints the path of a config.',
    'run': 'Runs a script after importing mmtrtvit.',
    'runtime': 'Draws and writes what an exported model finds, without PyTorch.',
}


def tools() -> dict[str, Path]:
    """Returns the tools by the names of their commands, such as ``check-data``."""
    paths = sorted(folder('tools').glob('*.py'))
    return {path.stem.replace('_', '-'): path for path in paths}


def summary(script: Path) -> str:
    """Returns the first line of a script's docstring, without running the script."""
    doc = ast.get_docstring(ast.parse(script.read_bytes())) or ''
    return doc.partition('\n')[0]


def make_parser(texts: dict[str, str]) -> argparse.ArgumentParser:
    """Makes the parser of the commands that are no tools, with the tools in its help.

    Args:
        texts: A sentence on each command.
    """
    first, _, rest = __doc__.partition('\n')
    parser = argparse.ArgumentParser(
        'mmtrtvit',
        description=first,
        epilog=rest,
        formatter_class=HelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'mmtrtvit {__version__}')
    commands = parser.add_subparsers(dest='command', title='commands', metavar='COMMAND')
    parsers = {
        name: commands.add_parser(name, help=text, description=text) for name, text in texts.items()
    }
    add_demo(parsers['demo'])
    parsers['config'].add_argument(
        'name', help='as listed, or PACKAGE::NAME for one of mmdet, mmseg, ...'
    )
    run = parsers['run']
    run.add_argument('script', help='a file, or PACKAGE::NAME for a tool of mmtrtvit, mmdet, ...')
    run.add_argument('arguments', nargs=argparse.REMAINDER, help='arguments of the script')
    with contextlib.suppress(ImportError):
        import shtab

        shtab.add_argument_to(parser, '--print-completion', help='print what completes commands')
    return parser


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``mmtrtvit demo``."""
    names = [Path(name).stem for name in config_names() if name.startswith('demo/')]
    parser.add_argument(
        'name',
        nargs='?',
        default=FIRST_DEMO,
        choices=names,
        metavar='NAME',
        help=f'of {", ".join(names)} (default: %(default)s)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default='work_dirs/demo',
        metavar='DIR',
        help='folder of the runs, one below for each NAME (default: %(default)s)',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        metavar='DIR',
        help='folder of the generated data (default: data/shapes, or data/shape_folders for a '
        'classifier)',
    )


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


def run_runtime(arguments: list[str]) -> None:
    """Does what ``python -m mmtrtvit.runtime ARGUMENTS`` does."""
    sys.argv = ['mmtrtvit runtime', *arguments]
    runpy.run_module('mmtrtvit.runtime', run_name='__main__')


def run_tool(path: Path, arguments: list[str], *, program: str) -> None:
    """Does what ``python PATH ARGUMENTS`` does with a tool of mmtrtvit.

    Args:
        path: File of the tool, with its functions ``parse_args`` and ``main``.
        arguments: What follows on the command line.
        program: What the tool calls itself in its help.
    """
    tool = ModuleType(path.stem)
    SourceFileLoader(path.stem, str(path)).exec_module(tool)
    sys.argv = [program, *arguments]
    command_line.run_tool(tool.main, tool.parse_args())


def print_summary(texts: dict[str, str]) -> None:
    """Prints what is installed and what can be called.

    Args:
        texts: A sentence on each command.
    """
    names = config_names()
    screen = min(shutil.get_terminal_size().columns, 100)
    width = max(map(len, names))
    for name, value in dict(environment(), configs=folder('configs')).items():
        print(f'{name:<12} {value}')
    columns = '  '.join(name.ljust(width) for name in names)
    print(textwrap.indent(textwrap.fill(columns, screen - 2), '  '))
    print('\ncommands, each with --help:')
    width = max(map(len, texts))
    for name, text in texts.items():
        start, behind = f'  {name:<{width}}  ', ' ' * (width + 4)
        print(textwrap.fill(text, screen, initial_indent=start, subsequent_indent=behind))


def main(words: list[str]) -> None:
    """Runs a command.

    Args:
        words: The command line.

    Raises:
        UserError: If the command has no such config or script.
    """
    command = words[0].replace('_', '-') if words else ''
    if command == 'runtime':
        return run_runtime(words[1:])
    scripts = tools()
    if command in scripts:
        return run_tool(scripts[command], words[1:], program=f'mmtrtvit {command}')
    texts = {**OWN, **{name: summary(path) for name, path in scripts.items()}}
    parser = make_parser(texts)
    if command not in texts and not command.startswith('-') and words:
        hint = did_you_mean(command, texts)
        parser.error(f'no command {words[0]}.{hint} All are listed by: mmtrtvit --help')
    args = parser.parse_args(words)
    if args.command == 'config':
        print(config_path(args.name))
    elif args.command == 'run':
        run_script(args.script, args.arguments)
    elif args.command == 'demo':
        from .engine.demo import run_demo

        run_demo(args.name, work_dir=args.work_dir, data_root=args.data_root)
    else:
        print_summary(texts)


def entry() -> None:
    """Runs the command line ``mmtrtvit``; what its user can mend ends it with a message."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f'error: {message(error)}')


if __name__ == '__main__':
    entry()
