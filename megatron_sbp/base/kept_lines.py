"""Keeps some lines of an unbounded output in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator


class FirstAndLast:
    """The first and last lines of an output, in order.

    Args:
        count: how many of each are kept.
    """

    def __init__(self, count: int):
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=count)
        self._count = count

    def extend(self, lines: Iterable[str]) -> None:
        """Adds lines; those in the middle are discarded."""
        for line in lines:
            if len(self._first) < self._count:
                self._first.append(line)
            else:
                self._last.append(line)

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        yield from self._last
