"""Reading in a thread, so that decoding and the model do not wait for each other."""

from collections.abc import Generator, Iterable
from contextlib import suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import NamedTuple, TypeVar

Item = TypeVar('Item')


class _End(NamedTuple):
    error: BaseException | None = None


def read_ahead(
    items: Iterable[Item], size: int, *, newest: bool = False
) -> Generator[Item, None, None]:
    """Yields items that a thread reads, in their order.

    The thread ends with the items, with the iterator, or with an error, which is raised here.

    Args:
        items: Read by the thread alone.
        size: Most items that wait.
        newest: Drop the item that has waited longest where there is no room for another, instead
            of letting the thread wait.
    """
    waiting: Queue[Item | _End] = Queue(size)
    stopped = Event()

    def read() -> None:
        end = _End()
        try:
            for item in items:
                if newest and waiting.full():
                    with suppress(Empty):  # it may have been taken since
                        waiting.get_nowait()
                waiting.put(item)
                if stopped.is_set():
                    break
        except BaseException as error:  # of the items; raised where they are used
            end = _End(error)
        finally:
            getattr(items, 'close', lambda: None)()  # files of a generator that was not finished
        waiting.put(end)

    thread = Thread(target=read, name='read_ahead', daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room
            try:
                waiting.get(timeout=0.01)
            except Empty:
                continue
        thread.join()
