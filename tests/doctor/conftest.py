from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mounted import mount, unmount


@pytest.fixture
def mounted(tmp_path) -> Iterator:
    """Mounts a tmpfs with some options; gives its folder."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount_there(options: str) -> Path:
        if reason := mount(folder, options):
            pytest.skip(reason)
        return folder

    yield mount_there
    unmount(folder)


@pytest.fixture
def locks_of_nfs(monkeypatch) -> None:
    """NFS, as Linux mounts it, refuses an exclusive flock on a file that is not open for writing: see flock(2)."""
    local = fcntl.flock

    def flock(file, operation: int) -> None:
        mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if operation & fcntl.LOCK_EX and mode == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        local(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
