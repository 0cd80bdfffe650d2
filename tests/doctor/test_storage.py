"""The file system of the run folder, by file systems that are really read-only, full, or without an end."""

from __future__ import annotations

import fcntl
import os
import time

import pytest

from megatron_sbp.doctor.storage import examine_folder, lockable, temporary_file

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def test_a_good_folder_is_left_as_it_was(tmp_path):
    (tmp_path / "mine").write_text("kept")
    found = list(examine_folder(tmp_path))
    assert [entry.check for entry in found] == ["files", "flock", "clock"]
    assert [entry.status for entry in found[1:]] == ["ok", "ok"] and "/s written" in found[0].text
    assert [path.name for path in tmp_path.iterdir()] == ["mine"] and (tmp_path / "mine").read_text() == "kept"


def test_locks_of_nfs_are_good(tmp_path, locks_of_nfs):
    assert [entry.status for entry in examine_folder(tmp_path) if entry.check == "flock"] == ["ok"]


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


def test_a_clock_that_is_an_hour_off(tmp_path):
    clock = list(examine_folder(tmp_path, lambda: time.time() + 3600))[-1]
    assert clock.status == "warn" and "behind" in clock.text and "NTP" in clock.remedy


def test_a_held_lock_is_not_lockable(tmp_path):
    with temporary_file(tmp_path) as held, open(held.name, "rb") as other:
        assert lockable(other)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not lockable(other)
    assert not list(tmp_path.iterdir())
