import signal
import threading

import pytest

from mmtrtvit.signals import Terminated, exit_code, put_off, terminable


def test_sigterm_raises_as_ctrl_c_does():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as caught, terminable():
        signal.raise_signal(signal.SIGTERM)
    assert exit_code(caught.value) == 143 and exit_code(KeyboardInterrupt()) == 130
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize('number, kind', [(2, KeyboardInterrupt), (15, Terminated)])
def test_what_is_put_off_comes_after_the_block(number, kind, monkeypatch):
    done = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with terminable(), pytest.raises(kind) as caught:
            with put_off():
                signal.raise_signal(number)
                done.append(True)
            done.append(False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.type is kind and done == [True]


def test_other_threads_are_left_alone():
    seen = []

    def work():
        with terminable(), put_off():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
