"""Damaged checkpoints: found before they are resumed, and a way back to the last intact one."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.checkpoint import seals, tracker
from megatron_sbp.training.damage import damaged_checkpoint, go_back, last_intact


@pytest.fixture
def folder(tmp_path) -> Path:
    """A training with three sealed checkpoints, of which it would resume the last."""
    folder = tmp_path / "baseline"
    for iteration in (8, 16, 24):
        checkpoint = tracker.checkpoint_folder(folder, iteration)
        checkpoint.mkdir(parents=True)
        (checkpoint / "__0_0.distcp").write_bytes(bytes(range(256)))
        (checkpoint / "metadata.json").write_text("{}")
        seals.seal(folder, iteration)
    (folder / tracker.NAME).write_text("24")
    return folder


def flip(folder: Path, iteration: int) -> Path:
    file = tracker.checkpoint_folder(folder, iteration) / "__0_0.distcp"
    file.write_bytes(bytes(256))
    return file


def test_only_the_checkpoint_that_would_be_resumed_is_in_the_way(folder):
    flip(folder, 16)
    assert damaged_checkpoint(folder) is None
    file = flip(folder, 24)
    assert damaged_checkpoint(folder)[0] == file
    (folder / "stopped.txt").touch()  # the manifest of a finished training tells its damage
    assert damaged_checkpoint(folder) is None


def test_the_last_intact_checkpoint(folder):
    assert last_intact(folder, []) == 24
    damaged = [flip(folder, 24)]
    assert last_intact(folder, damaged) == 16
    flip(folder, 16)  # not reported, but not as it was sealed
    assert last_intact(folder, damaged) == 8
    assert last_intact(folder, [*damaged, folder / "metrics.jsonl"]) is None
    flip(folder, 8)
    assert last_intact(folder, damaged) is None


def test_going_back_moves_what_comes_after(folder, tmp_path):
    aside = tmp_path / "aside"
    aside.mkdir()
    (folder / "stopped.txt").write_text("end of the plan")
    go_back(folder, 16, aside)
    assert sorted(path.name for path in aside.iterdir()) == ["iter_0000024", "stopped.txt"]
    assert tracker.read(folder) == 16 and tracker.complete(folder) == [8, 16]
    go_back(folder, None, aside)
    assert not folder.exists() and (aside / "baseline" / "iter_0000016").is_dir()
