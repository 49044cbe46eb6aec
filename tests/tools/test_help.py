"""The first screen of every tool: its help, at 80 columns and without colours."""

import contextlib
import io
import re
import runpy
import sys
from pathlib import Path

import pytest

from mmtrtvit import __main__ as command
from mmtrtvit.runtime import __main__ as runtime

ROOT = Path(__file__).parents[2]
TOOLS = {path.stem: path for path in sorted((ROOT / 'tools').glob('*.py'))}


def help_of(monkeypatch, parse, *words):
    monkeypatch.setattr(sys, 'argv', [*words, '--help'])
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as end:
        parse()
    assert not end.value.code
    return out.getvalue()


def helps_of(monkeypatch, parse, program):
    """The help of a program, and of each of its commands."""
    text = help_of(monkeypatch, parse, program)
    yield text
    commands = re.search(r'\{([a-z,-]+)\} \.\.\.', text)
    for name in commands[1].split(',') if commands else ():
        yield help_of(monkeypatch, parse, program, name)


def require_readable(text):
    assert max(map(len, text.splitlines())) <= 80
    assert '\033' not in text and '\r' not in text


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    monkeypatch.setenv('NO_COLOR', '1')


@pytest.mark.parametrize('name', TOOLS)
def test_help_of_a_tool(monkeypatch, name):
    parse = runpy.run_path(str(TOOLS[name]))['parse_args']
    for program in (str(TOOLS[name]), f'mmtrtvit {name.replace("_", "-")}'):
        for text in helps_of(monkeypatch, parse, program):
            require_readable(text)


def test_help_of_the_runtime(monkeypatch):
    require_readable(help_of(monkeypatch, runtime.parse_args, 'mmtrtvit runtime'))


@pytest.mark.parametrize('words', [(), ('demo',), ('config',), ('run',)])
def test_help_of_the_command(monkeypatch, words):
    require_readable(
        help_of(monkeypatch, lambda: command.main([*words, '--help']), 'mmtrtvit', *words)
    )


def test_what_the_command_lists(monkeypatch, capsys):
    monkeypatch.setattr(command, 'environment', dict)
    command.main([])
    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith('  ')]
    assert len(listed) > 50 and max(map(len, listed)) <= 80
