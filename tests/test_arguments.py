"""Types of arguments that several command lines take."""

import argparse

import pytest

from mmtrtvit.arguments import milliseconds, share


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
