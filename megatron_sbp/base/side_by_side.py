"""Maps a function over items in threads: for work that releases the GIL, such as copying and digests."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor


def side_by_side[Item, Result](
    work: Callable[[Item], Result], items: Iterable[Item], most: int | None = None
) -> Iterator[Result]:
    """Yields the results in the order of the items, with at most one call per core at a time.

    An exception is raised here once running calls are done; no further ones start.

    Args:
        work: called in threads.
        items: its arguments; iterated in the caller's thread.
        most: limit on concurrent calls, if below the number of cores: each result waits in memory.
    """
    cores = min(len(os.sched_getaffinity(0)), most or sys.maxsize)
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        try:
            for item in items:
                if len(running) > cores:
                    yield running.popleft().result()
                running.append(pool.submit(work, item))
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
