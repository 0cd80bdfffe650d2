"""One process at a time, by a lock on a file that every machine sees."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from megatron_sbp.base.progress import say

PATIENCE = 5.0
"""Seconds to wait before saying so: shards that start together wait for one another all the time."""


@contextlib.contextmanager
def locked(file: Path, label: str) -> Iterator[None]:
    """Holds an exclusive lock on `file` inside the block; says so when it has to wait.

    A lock file that is removed by somebody while a process waits for it is recreated: the lock that counts is the one
    that the name refers to.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    said, begun = False, time.monotonic()
    while True:
        with open(file, "a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said and time.monotonic() - begun > PATIENCE:
                    say(f"{label}: waiting for a lock that another process holds ({file})")
                    said = True
                time.sleep(0.05 if not said else 0.5)
                continue
            if _is(handle.fileno(), file):
                yield
                return


def _is(descriptor: int, file: Path) -> bool:
    try:
        named, held = file.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
