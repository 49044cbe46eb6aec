import itertools
import threading
import time

import pytest

from mmtrtvit.runtime.stream import read_ahead


def readers():
    return [thread for thread in threading.enumerate() if thread.name == 'read_ahead']


def test_items_come_in_order_and_the_thread_ends():
    assert list(read_ahead(iter(range(1000)), 3)) == list(range(1000))
    assert not readers()


def test_no_more_items_than_allowed_wait():
    begun = []

    def items():
        for index in range(100):
            begun.append(index)
            yield index

    ahead = read_ahead(items(), 4)
    assert next(ahead) == 0
    time.sleep(0.2)
    assert len(begun) == 6  # one given, four waiting, one that the thread holds
    ahead.close()
    assert len(begun) < 10 and not readers()


def test_an_error_of_the_items_comes_behind_what_was_read():
    def items():
        yield 1
        raise ValueError('broken')

    ahead = read_ahead(items(), 4)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match='broken'):
        next(ahead)
    assert not readers()


def test_who_stops_early_stops_the_thread_and_closes_the_items():
    closed = threading.Event()

    def items():
        try:
            yield from itertools.count()
        finally:
            closed.set()

    for item in read_ahead(items(), 2):
        if item == 10:
            break
    assert closed.wait(5)
    assert not readers()


def test_the_newest_item_takes_the_place_of_one_that_waits():
    produced = threading.Event()

    def items():
        yield 0
        yield from range(1, 100)
        produced.set()

    ahead = read_ahead(items(), 1, newest=True)
    assert next(ahead) in range(100)
    assert produced.wait(5)  # nothing held the thread up
    assert [*ahead] in ([99], [])
    assert not readers()
