"""Prefetches the next item in a thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


def read_ahead[Item](items: Iterable[Item]) -> Iterator[Item]:
    """Yields the items; a thread produces the next one while one is in use, and its exceptions are raised here."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, source, end)
            yield item  # type: ignore[misc]  # `end` is no item
