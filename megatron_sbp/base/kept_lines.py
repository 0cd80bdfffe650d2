"""Lines of an output without an end, of which some are kept in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator


class FirstAndLast:
    """The first lines of many and the last ones, in their order.

    Args:
        count: how many are kept of each.
    """

    def __init__(self, count: int):
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=count)
        self._count = count

    def extend(self, lines: Iterable[str]) -> None:
        """Adds lines; those between the first and the last are forgotten."""
        for line in lines:
            if len(self._first) < self._count:
                self._first.append(line)
            else:
                self._last.append(line)

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        yield from self._last
