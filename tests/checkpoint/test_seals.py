"""A checkpoint that was damaged is known before a training continues from it."""

from __future__ import annotations

import os
import shutil
import time

import pytest

from megatron_sbp.checkpoint import seals, tracker


@pytest.fixture
def folder(tmp_path):
    for iteration in (8, 16):
        base = tracker.checkpoint_folder(tmp_path, iteration)
        base.mkdir()
        (base / "__0_0.distcp").write_bytes(bytes(range(256)) * iteration)
        (base / "metadata.json").write_text("{}")
    (tmp_path / tracker.NAME).write_text("16")
    return tmp_path


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_damage_of_a_sealed_checkpoint(folder, harm):
    for iteration in (8, 16):
        seals.seal(folder, iteration)
        assert seals.broken(folder, iteration) is None
    file = tracker.checkpoint_folder(folder, 16) / "__0_0.distcp"
    data = bytearray(file.read_bytes())
    if harm == "flip":
        data[77] ^= 1
        file.write_bytes(data)
    elif harm == "cut":
        file.write_bytes(data[:-1])
    else:
        file.unlink()
    assert seals.broken(folder, 16)[0] == file
    assert seals.broken(folder, 8) is None


def test_an_unsealed_checkpoint_and_a_damaged_seal_are_trusted(folder):
    assert seals.broken(folder, 8) is None
    seals.seal(folder, 8)
    (folder / "seals" / "8.json").write_text("[")
    assert seals.broken(folder, 8) is None


def test_checkpoints_are_sealed_as_they_become_complete(folder):
    with seals.Sealer(folder):
        deadline = time.monotonic() + 30
        while not (folder / "seals" / "16.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        half = tracker.checkpoint_folder(folder, 24)
        half.mkdir()
        (half / "__0_0.distcp").write_bytes(b"half")
    assert sorted(file.name for file in (folder / "seals").iterdir()) == ["16.json", "8.json"]


def sealed(folder) -> list[str]:
    return sorted(file.name for file in (folder / "seals").glob("*"))


def test_checkpoints_that_will_be_written_again_have_no_seal(folder):
    for iteration in (8, 16):
        seals.seal(folder, iteration)
    (folder / tracker.NAME).write_text("8")
    with seals.Sealer(folder):
        assert sealed(folder) == ["8.json"]
        (tracker.checkpoint_folder(folder, 16) / "__0_0.distcp").write_bytes(b"other bytes")
        (folder / tracker.NAME).write_text("16")
    assert sealed(folder) == ["16.json", "8.json"] and seals.broken(folder, 16) is None
    (folder / tracker.NAME).unlink()
    with seals.Sealer(folder):
        assert sealed(folder) == []


def test_what_the_tracker_does_not_name_yet_is_not_sealed(folder):
    (folder / tracker.NAME).write_text("8")
    with seals.Sealer(folder):
        pass
    assert sealed(folder) == ["8.json"]


def test_the_end_does_not_wait_for_a_large_checkpoint(folder):
    for name in ("__0_0.distcp", "__0_1.distcp"):
        with open(tracker.checkpoint_folder(folder, 8) / name, "wb") as file:
            file.truncate(1 << 30)
    sealer = seals.Sealer(folder, last_seconds=0)
    with sealer:
        pass
    assert sealer._thread.is_alive()
    sealer._thread.join()
    assert sealed(folder) in ([], ["16.json"])


def test_what_is_to_be_done_then_comes_after_the_seals(folder):
    found = []
    with seals.Sealer(folder, then=lambda: found.append(sealed(folder))):
        pass
    assert found and found[-1] == ["16.json", "8.json"]


def test_what_is_removed_after_a_seal_is_not_sealed(folder):
    """Where sealing takes longer than saving, all that was saved meanwhile was sealed before any of it was removed."""
    found = []
    shutil.copytree(tracker.checkpoint_folder(folder, 16), tracker.checkpoint_folder(folder, 24))
    (folder / tracker.NAME).write_text("24")

    def then() -> None:
        found.append(sealed(folder))
        if 16 in tracker.written(folder):
            seals.remove_checkpoint(folder, 16)

    with seals.Sealer(folder, then=then):
        pass
    assert found[0] == ["8.json"] and found[-1] == sealed(folder) == ["24.json", "8.json"]


def test_a_checkpoint_is_removed_with_its_seal(folder):
    seals.seal(folder, 8)
    seals.remove_checkpoint(folder, 8)
    seals.remove_checkpoint(folder, 16)  # which has none
    assert not tracker.written(folder) and sealed(folder) == []


def test_two_may_remove_the_same_checkpoint(folder, monkeypatch):
    """The thread of a training that has just ended, and `finalize`."""
    unlink, file = os.unlink, tracker.checkpoint_folder(folder, 8) / "__0_0.distcp"

    def after_the_other(path, *, dir_fd=None):
        if file.exists():
            unlink(file)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", after_the_other)
    seals.remove_checkpoint(folder, 8)
    assert list(tracker.written(folder)) == [16]


def test_what_cannot_be_removed_is_an_error(folder, monkeypatch):
    unlink = os.unlink

    def refuse(path, *, dir_fd=None):
        if path == "__0_0.distcp":
            raise PermissionError(13, "Permission denied", path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        seals.remove_checkpoint(folder, 8)
    assert tracker.complete(folder) == [16]


def test_a_copy_beside_a_checkpoint_is_no_checkpoint(folder):
    shutil.copytree(tracker.checkpoint_folder(folder, 16), folder / "iter_0000016.bak")
    with seals.Sealer(folder):
        pass
    assert sealed(folder) == ["16.json", "8.json"]
