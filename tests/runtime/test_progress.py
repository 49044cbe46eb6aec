"""The line that counts."""

import io
import sys

import pytest

from mmtrtvit.runtime import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize('total, text', [(3, '\r2/3 images, '), (None, '\r2 images, ')])
def test_a_terminal_shows_a_line_and_is_left_without_it(monkeypatch, total, text):
    monkeypatch.setattr(sys, 'stderr', Terminal())
    monkeypatch.setattr(progress, 'INTERVAL', 0)
    assert list(progress.counted('abc', total)) == ['a', 'b', 'c']
    assert text in sys.stderr.getvalue() and sys.stderr.getvalue().endswith('\r\033[K')


def test_a_line_that_was_interrupted(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', Terminal())
    for item in progress.counted('abc', total=3):
        assert item == 'a'
        break
    assert sys.stderr.getvalue() == '\r\033[K'


def test_a_file_has_no_line(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    assert list(progress.counted('abc', total=3)) == ['a', 'b', 'c']
    assert sys.stderr.getvalue() == ''
