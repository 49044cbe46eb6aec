import argparse
import sys

import pytest

from mmtrtvit.engine.command_line import (
    add_cfg_options,
    command_line,
    make_parser,
    read_values,
    run_tool,
)
from mmtrtvit.errors import UserError


def failing(error):
    def main(args):
        raise error

    return main


@pytest.mark.parametrize(
    'error, text',
    [
        (UserError('no such thing'), 'error: no such thing'),
        (
            PermissionError(13, 'Permission denied', 'out'),
            'error: out: Permission denied. Change its',
        ),
    ],
)
def test_what_a_user_can_mend_ends_a_tool_with_a_message(error, text):
    with pytest.raises(SystemExit, match=text):
        run_tool(failing(error), argparse.Namespace())


def test_options_of_a_config(capsys):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    words = ['--cfg-options', 'a.b=1', 'c=[1,x]', 'd=e=f']
    seen = []
    run_tool(seen.append, parser.parse_args([*words, '--cfg-options', 'g=None']))
    assert seen[0].cfg_options == {'a.b': 1, 'c': [1, 'x'], 'd': 'e=f', 'g': None}
    with pytest.raises(SystemExit):
        parser.parse_args([*words, 'key', '=', 'value'])
    assert '--cfg-options: key: expected KEY=VALUE' in capsys.readouterr().err


def test_brackets_of_an_option_must_match():
    parser = make_parser('A tool.')
    args = parser.parse_args(['config.py', '--cfg-options', 'a=[1,(2]'])
    with pytest.raises(SystemExit, match=r'error: --cfg-options a=\[1,\(2\]: Imbalanced brackets'):
        run_tool(failing(AssertionError), args)


def test_a_dict_as_an_option():
    with pytest.raises(UserError, match=r"a=\{'b': \[1, 2\]\}: a value is .* KEY\.NAME=VALUE$"):
        read_values(["a={'b': [1, 2]}"])


@pytest.mark.parametrize('words, text', [((), ''), (('--resume goes on',), '; --resume goes on')])
def test_ctrl_c_needs_no_traceback(capsys, words, text):
    with pytest.raises(SystemExit) as caught:
        run_tool(failing(KeyboardInterrupt(*words)), argparse.Namespace())
    assert caught.value.code == 130
    assert capsys.readouterr().err == f'\nstopped{text}\n'


@pytest.mark.parametrize('error', [KeyError('x'), ConnectionError('x'), FileNotFoundError(2, 'x')])
def test_all_else_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        run_tool(failing(error), argparse.Namespace())


@pytest.mark.parametrize(
    'words, whole, short',
    [
        (['tools/x.py', '/a/b.py', 'c d'], "python tools/x.py /a/b.py 'c d'", "b.py 'c d'"),
        (['mmtrtvit train', '/a/b.py'], 'mmtrtvit train /a/b.py', 'mmtrtvit train b.py'),
    ],
)
def test_the_command_line_of_this_run(monkeypatch, words, whole, short):
    monkeypatch.setattr(sys, 'argv', words)
    assert command_line() == whole
    assert command_line(folders=False).endswith(short) and '/a/' not in command_line(folders=False)
