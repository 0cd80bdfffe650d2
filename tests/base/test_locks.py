"""A lock on a file: one at a time, given back in every case, and not fooled by a removed file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from megatron_sbp.base import locks
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.locks import locked, locked_if_free

HOLDER = """
import sys, time
from pathlib import Path
from megatron_sbp.base.locks import locked
with locked(Path(sys.argv[1]), "holder"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock; closing its input makes it let go."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_waits_until_the_holder_is_gone(holder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    order = []

    def wait() -> None:
        with locked(tmp_path / "lock", "embed 00001"):
            order.append("second")

    thread = threading.Thread(target=wait)
    thread.start()
    while "waiting for a lock" not in capsys.readouterr().err:
        assert thread.is_alive()
        time.sleep(0.01)
    order.append("first")
    holder.kill()  # not given back: the system does it
    thread.join(30)
    assert order == ["first", "second"]


def test_the_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / "new" / "lock", "x"):
        raise ValueError("inside")
    with locked(tmp_path / "new" / "lock", "x"):
        pass


def test_a_lock_on_a_removed_file_does_not_count(tmp_path):
    """Who opened the file before it was removed holds a lock that nobody else sees, and must take the new one."""
    with open(tmp_path / "lock", "a+") as former:
        assert locks._is(former.fileno(), tmp_path / "lock")
        (tmp_path / "lock").unlink()
        assert not locks._is(former.fileno(), tmp_path / "lock")
        Path(tmp_path / "lock").touch()
        assert not locks._is(former.fileno(), tmp_path / "lock")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    """Lustre that was mounted without -o flock."""

    def flock(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with pytest.raises(InputError, match=r"lock: cannot be locked .*Lustre: -o flock"), locked(tmp_path / "lock", "x"):
        pytest.fail("nobody holds a lock")


def test_a_lock_that_another_machine_removed_does_not_count(tmp_path, monkeypatch):
    """NFS says that the open file is stale."""

    def fstat(descriptor):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with open(tmp_path / "lock", "a+") as held, monkeypatch.context() as patched:
        patched.setattr(locks.os, "fstat", fstat)
        assert not locks._is(held.fileno(), tmp_path / "lock")


def test_nobody_waits_for_a_lock_that_is_taken_only_if_free(holder, tmp_path):
    with locked_if_free(tmp_path / "lock") as held:
        assert not held
    holder.kill()
    holder.wait()
    with locked_if_free(tmp_path / "lock") as held:
        assert held
        with locked_if_free(tmp_path / "lock") as again:
            assert not again
