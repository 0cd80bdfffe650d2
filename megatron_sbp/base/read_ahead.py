"""Work that is one step ahead of whoever needs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


def read_ahead[Item](items: Iterable[Item]) -> Iterator[Item]:
    """The items: a thread makes the next one while one is in use; what it raises is raised here."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, source, end)
            yield item  # type: ignore[misc]  # `end` is no item
