"""running.json: records the process that trains in a folder. A second one is refused even if the lock file was
removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError

NAME = "running.json"


def refuse_second(folder: Path) -> None:
    """Raises InputError if another process of this host trains in a folder; see `only_training`."""
    other = _read(folder / NAME)
    if other is not None and other != _identity(psutil.Process()) and _alive(other):
        raise InputError(
            f"is being trained by process {other['pid']} on {other['host']}; wait for it or end it", file=folder
        )


@contextlib.contextmanager
def only_training(folder: Path) -> Iterator[None]:
    """Marks a training run's folder as in use by this process inside the block.

    A mark of a dead process or of another host is replaced: across hosts, the stage's lock decides.

    Args:
        folder: models/NAME of the run.

    Raises:
        InputError: another process of this host trains there.
    """
    file = folder / NAME
    mine = _identity(psutil.Process())
    with _alone(folder):
        refuse_second(folder)
        files.write_json(file, mine)
    try:
        yield
    finally:
        if _read(file) == mine:
            file.unlink(missing_ok=True)


def _identity(process: psutil.Process) -> dict[str, str | int | float]:
    return {"host": socket.gethostname(), "pid": process.pid, "started": round(process.create_time(), 2)}


def _read(file: Path) -> dict[str, str | int | float] | None:
    try:
        found = files.read_json(file)
    except (OSError, InputError):
        return None
    return found if isinstance(found, dict) and {"host", "pid", "started"} <= found.keys() else None


def _alive(other: dict[str, str | int | float]) -> bool:
    if other["host"] != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(other["pid"]))
        # Start times are computed from the clock, which may have been adjusted.
        return abs(process.create_time() - float(other["started"])) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError, TypeError):
        return False


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time read and set the mark; the folder itself is locked, since it cannot be removed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # NFS locks only files open for writing
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
