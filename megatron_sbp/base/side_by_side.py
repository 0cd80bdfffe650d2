"""The same work on many items, in threads: for work that needs no lock of Python's, such as copying and digests."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor


def side_by_side[Item, Result](
    work: Callable[[Item], Result], items: Iterable[Item], most: int | None = None
) -> Iterator[Result]:
    """The results in the order of the items, at most as many at a time as this process has cores.

    What one raises is raised here, once those that have begun are done; no more begin.

    Args:
        work: called in threads.
        items: of which it gets one; taken in the caller's thread.
        most: at a time, where that is less than the cores: each result waits in memory.
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
