"""The file system of the run folder, tested with one temporary file: speed, locks, clock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from megatron_sbp.doctor.findings import Finding, fail, ok, warn
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.planning.numbers import format_bytes

PIECE, MOST, SECONDS = 4 << 20, 64 << 20, 3.0
"""Bytes written between two flushes, bytes at most, and seconds after which no further piece is written."""
SLOW = 20e6
"""Bytes/s of one process below which checkpoints take too long."""
SKEW = 2.0
"""Difference, in seconds, between the clocks of this machine and of the file system that is not worth a warning."""

LUSTRE = "mount it with working flock on all nodes (Lustre: -o flock), or put run_folder elsewhere"


def check_storage(subject: Subject) -> Iterator[Finding]:
    """Writes a temporary file beside the run's files and removes it; touches nothing else."""
    yield from examine_folder(subject.folder)


def examine_folder(folder: Path, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Speed, locks, and clock of the file system of a folder.

    Args:
        folder: must exist.
        now: this machine's clock, seconds since the epoch.
    """
    try:
        with temporary_file(folder) as file:
            yield _speed(file)
            yield _locks(Path(file.name))
            yield _clock(file, now)
    except OSError as error:
        remedy = (
            "free some space, or choose another run_folder" if error.errno in _FULL else "choose another run_folder"
        )
        yield fail("files", f"{folder} cannot be written: {error.strerror}", remedy)


_FULL = (28, 122)  # ENOSPC, EDQUOT


@contextlib.contextmanager
def temporary_file(folder: Path) -> Iterator[IO[bytes]]:
    """A file with a unique name in a folder, removed at the end."""
    with tempfile.NamedTemporaryFile(prefix=".sbp-doctor-", dir=folder, buffering=0) as file:
        yield file


def _speed(file: IO[bytes]) -> Finding:
    block, written = os.urandom(PIECE), 0
    begun = time.monotonic()
    while written < MOST and time.monotonic() - begun < SECONDS:
        written += file.write(block)
        os.fsync(file.fileno())
    rate = written / (time.monotonic() - begun)
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begun = time.monotonic()
    file.seek(0)
    while file.read(PIECE):
        pass
    reading = written / max(1e-9, time.monotonic() - begun)
    rates = f"{format_bytes(rate)}/s written and flushed, {format_bytes(reading)}/s read, by one process"
    text = f"{rates}, in {Path(file.name).parent}"
    if rate < SLOW:
        return warn("files", text, "checkpoints will take long: put run_folder on a parallel or a local file system")
    return ok("files", text)


def _locks(path: Path) -> Finding:
    """Two open files of one path exclude each other."""
    try:
        # For writing, as the program itself opens lock files: NFS gives exclusive locks to no others.
        with open(path, "rb+") as first, open(path, "rb+") as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            excluded = not lockable(second)
    except OSError as error:
        return fail("flock", f"does not work here: {error.strerror}", LUSTRE)
    return ok("flock", "excludes") if excluded else fail("flock", "two processes get the same lock", LUSTRE)


def lockable(file: IO[bytes]) -> bool:
    """Whether an open file can be locked now; unlocks it again."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def _clock(file: IO[bytes], now: Callable[[], float]) -> Finding:
    before = now()
    file.write(b".")
    os.fsync(file.fileno())
    skew = os.fstat(file.fileno()).st_mtime - (before + now()) / 2
    if abs(skew) > SKEW:
        text = f"the file system's is {abs(skew):,.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        return warn("clock", text, "synchronize both (NTP): times in logs and reports are not comparable")
    return ok("clock", f"within {SKEW:g} s of the file system's")
