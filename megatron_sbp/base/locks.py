"""Mutual exclusion between processes by a lock on a file that every machine sees."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say

PATIENCE = 5.0
"""Seconds to wait before printing a message: shards that start together often wait for one another."""


@contextlib.contextmanager
def locked(file: Path, label: str) -> Iterator[None]:
    """Holds an exclusive lock on `file` inside the block; prints a message if it has to wait.

    A lock file that is removed while a process waits for it is recreated: only a lock on the file under that name
        counts.

    Raises:
        InputError: the file system has no locks.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    said, begun = False, time.monotonic()
    while True:
        with open(file, "a+") as handle:
            try:
                with explained(file):
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


@contextlib.contextmanager
def locked_if_free(file: Path) -> Iterator[bool]:
    """Holds an exclusive lock on `file` inside the block unless another process holds it; yields whether it is held.

    Raises:
        InputError: the file system has no locks.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a+") as handle:
        try:
            with explained(file):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield _is(handle.fileno(), file)


@contextlib.contextmanager
def explained(file: Path) -> Iterator[None]:
    """Raises InputError if locking a file fails because its file system has no locks."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        raise InputError(
            f"cannot be locked ({error.strerror}): mount its file system with working flock on all nodes (Lustre: "
            "-o flock), or choose a folder on another file system",
            file=file,
        ) from error


def _is(descriptor: int, file: Path) -> bool:
    try:
        named, held = file.stat(), os.fstat(descriptor)
    except OSError as error:
        # ESTALE on NFS: removed by another machine
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise
        return False
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
