"""Progress: a line that counts on a terminal, nothing without one; and sentences beside it."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar('Item')
INTERVAL = 0.1  # seconds between two counts


def counted(items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
    """Yields items, and shows on stderr how many there were.

    Args:
        items: What is counted.
        total: How many there will be, None where nobody knows.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    of_all = '' if total is None else f'/{total}'
    start = shown = time.monotonic()
    try:
        for count, item in enumerate(items, 1):
            yield item
            if (now := time.monotonic()) - shown >= INTERVAL:
                rate = count / (now - start)
                print(f'\r{count}{of_all} images, {rate:.1f}/s ', end='', file=sys.stderr)
                shown = now
    finally:
        print('\r\033[K', end='', file=sys.stderr, flush=True)


def tell(sentence: str) -> None:
    """Prints a sentence on stderr, in the place of a line that counts or a bar, if there is one."""
    clear = '\r\033[K' if sys.stderr.isatty() else ''
    print(f'{clear}{sentence}', file=sys.stderr, flush=True)
