"""The form of a help, and types of arguments that several command lines take."""

import argparse

import pytest

from mmtrtvit.arguments import HelpFormatter, milliseconds, share


@pytest.mark.parametrize('text, value', [('0.1', 0.1), ('10%', 0.1), ('250%', 2.5)])
def test_shares(text, value):
    assert share(text) == pytest.approx(value)


@pytest.mark.parametrize('text, value', [('10ms', 10), ('10', 10), ('0.5s', 500), ('1e1ms', 10)])
def test_times(text, value):
    assert milliseconds(text) == value


@pytest.mark.parametrize('text', ['', '0', '-1', 'ten', 'nan', 'inf', '10 %%', 'ms', '5min'])
@pytest.mark.parametrize('parse, expected', [(share, 'as 0.1 or 10%'), (milliseconds, 'as 10ms')])
def test_what_is_none(parse, expected, text):
    with pytest.raises(argparse.ArgumentTypeError, match=expected):
        parse(text)


def test_a_help_fits_the_terminal(monkeypatch):
    monkeypatch.setenv('COLUMNS', '40')
    epilog = """
Examples:
  python a.py ONE --size 1     # short
  python a.py "two words" $(c d) \\
      --long-option VALUE --other-option   # told above

  a term  what it means, in more lines than
          it had in the source
  --other  a meaning

A sentence that is longer than the forty columns of this terminal.
"""
    parser = argparse.ArgumentParser('a.py', epilog=epilog, formatter_class=HelpFormatter)
    assert (
        parser.format_help().partition('Examples:\n')[2]
        == """\
  python a.py ONE --size 1     # short
  # told above
  python a.py "two words" $(c d) \\
      --long-option VALUE \\
      --other-option

  a term  what it means, in more lines
          than it had in the source
  --other  a meaning

A sentence that is longer than the
forty columns of this terminal.
"""
    )
