"""The file system of the run folder, by file systems that are really read-only, full, or without an end."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatron_sbp.doctor.space import quota, room
from megatron_sbp.doctor.storage import examine_folder, lockable, temporary_file

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@pytest.fixture
def mounted(tmp_path) -> Iterator:
    """Mounts a tmpfs with some options; gives its folder."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


def test_a_good_folder_is_left_as_it_was(tmp_path):
    (tmp_path / "mine").write_text("kept")
    found = list(examine_folder(tmp_path))
    assert [entry.check for entry in found] == ["files", "flock", "clock"]
    assert [entry.status for entry in found[1:]] == ["ok", "ok"] and "/s written" in found[0].text
    assert [path.name for path in tmp_path.iterdir()] == ["mine"] and (tmp_path / "mine").read_text() == "kept"


@root
def test_a_read_only_folder(mounted):
    folder = mounted("ro,size=1m")
    (finding,) = examine_folder(folder)
    assert finding.status == "fail" and "Read-only" in finding.text and "run_folder" in finding.remedy


@root
def test_a_full_file_system(mounted):
    folder = mounted("size=1m")
    found = list(examine_folder(folder))
    assert found[-1].status == "fail" and "No space left" in found[-1].text and "free some space" in found[-1].remedy
    assert not list(folder.iterdir())


@root
def test_too_few_bytes_and_inodes_for_the_run(mounted):
    folder = mounted("size=1m,nr_inodes=20")
    needed = list(room(folder, (2_000_000, 100)))
    assert [entry.status for entry in needed] == ["fail", "fail"]
    assert "1.05 MB; the run needs about 2 MB" in needed[0].text and "the run needs about 100" in needed[1].text
    assert [entry.status for entry in room(folder, (2_000_000, 100), begun=True)] == ["warn", "warn"]
    assert [entry.status for entry in room(folder, (1000, 3))] == ["ok", "ok"]
    assert [entry.status for entry in room(folder, None)] == ["warn", "warn"]


def test_a_clock_that_is_an_hour_off(tmp_path):
    clock = list(examine_folder(tmp_path, lambda: time.time() + 3600))[-1]
    assert clock.status == "warn" and "behind" in clock.text and "NTP" in clock.remedy


def test_a_held_lock_is_not_lockable(tmp_path):
    with temporary_file(tmp_path) as held, open(held.name, "rb") as other:
        assert lockable(other)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not lockable(other)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "script, status, words",
    [
        ("exit 0", "ok", "not exceeded"),
        ("echo 'Disk quotas for user me:'; echo '  /home  block limit reached'; exit 1", "fail", "block limit reached"),
        ("echo 'no such user' >&2; exit 1", "warn", "no such user"),
    ],
)
def test_quota(tmp_path, monkeypatch, script, status, words):
    """The tool belongs to file systems with quotas, which no test can make: this one answers as it does."""
    tool = tmp_path / "quota"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    finding = quota()
    assert finding.status == status and words in finding.text


def test_no_quota_tool(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert quota().status == "ok"
