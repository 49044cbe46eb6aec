"""Pool: things that one thread at a time may use, as many as threads need, up to a limit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar('T')


class Pool(Generic[T]):
    """Lends things to threads; those that find none wait.

    Args:
        first: The first one.
        limit: Most that there may be.
    """

    def __init__(self, first: T, limit: int) -> None:
        self._idle, self._count, self._limit = [first], 1, limit
        self._returned = Condition()

    @contextmanager
    def take(self, make: Callable[[], T | None]) -> Iterator[T]:
        """Lends one for everything inside.

        Args:
            make: Makes another one, or returns None where there can be no more.
        """
        item = self._next(make)
        try:
            yield item
        finally:
            with self._returned:
                self._idle.append(item)
                self._returned.notify()

    def _next(self, make: Callable[[], T | None]) -> T:
        with self._returned:
            while not self._idle:
                if self._count < self._limit:
                    item = make()
                    if item is not None:
                        self._count += 1
                        return item
                    self._limit = self._count
                self._returned.wait()
            return self._idle.pop()
