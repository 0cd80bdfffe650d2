"""Damaged checkpoints: found before they are resumed, and a way back to the last intact one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from megatron_sbp.base import files
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


@pytest.mark.parametrize(
    ("consumed", "expected"),
    [
        ({"export_iteration": 16}, 8),  # a tuning, whose best checkpoint is exported
        ({"export_iteration": 24, "best": {"iteration": 16, "kept": True}}, 8),
        ({"export_iteration": 24, "best": {"iteration": 16, "kept": False}}, 24),  # one that recall is measured on
        ({"export_iteration": 24}, 24),
        (["damaged"], 24),
    ],
)
def test_a_damaged_result_is_trained_again(folder, tmp_path, consumed, expected):
    """Going on after it would finish the training without it."""
    files.write_json(folder / "consumed.json", consumed)
    damaged = [flip(folder, 16)]
    assert last_intact(folder, damaged) == expected
    aside = tmp_path / "aside"
    aside.mkdir()
    go_back(folder, expected, aside, damaged)
    assert 16 not in tracker.written(folder) and tracker.read(folder) == expected
    assert (aside / "consumed.json").exists() and not (folder / "consumed.json").exists()  # it will end otherwise


@pytest.mark.parametrize("harm", ["changed", "incomplete", "gone"])
def test_a_training_that_has_ended_is_damaged_where_its_results_are(folder, harm):
    """They were saved long ago, and from the end on their files count as they are."""
    (folder / "stopped.txt").touch()
    files.write_json(folder / "consumed.json", {"export_iteration": 16})
    flip(folder, 24)
    assert damaged_checkpoint(folder) is None
    checkpoint = tracker.checkpoint_folder(folder, 16)
    if harm == "changed":
        expected = flip(folder, 16), "digest"
    elif harm == "incomplete":
        (checkpoint / "metadata.json").unlink()
        expected = checkpoint, "not complete"
    else:
        shutil.rmtree(checkpoint)
        expected = checkpoint, "missing"
    place, wrong = damaged_checkpoint(folder)
    assert place == expected[0] and expected[1] in wrong
    assert last_intact(folder, [place]) == 8


def test_a_checkpoint_beyond_the_tracker_is_not_gone_to(folder):
    """Killed before the tracker named it: a later start cuts off the records of its steps, and may restart it."""
    (folder / tracker.NAME).write_text("16")
    assert last_intact(folder, [flip(folder, 16)]) == 8


def test_killed_while_going_back_it_can_go_back_again(folder, tmp_path, monkeypatch):
    """Whatever was moved: the next start knows where to continue, or that it has to go back."""
    (folder / "stopped.txt").write_text("end of the plan")
    damaged, replace = [flip(folder, 24)], Path.replace
    for kill in range(20):
        aside, moves = tmp_path / f"aside{kill}", 0
        aside.mkdir()

        def killed(self, target, kill=kill):
            nonlocal moves
            if moves == kill:
                raise KeyboardInterrupt
            moves += 1
            return replace(self, target)

        copy = tmp_path / f"copy{kill}"
        shutil.copytree(folder, copy)
        monkeypatch.setattr(Path, "replace", killed)
        try:
            go_back(copy, 16, aside, [copy / damaged[0].relative_to(folder)])
            break
        except KeyboardInterrupt:
            pass
        finally:
            monkeypatch.undo()
        assert tracker.read(copy) == 16 or damaged_checkpoint(copy) or (copy / "stopped.txt").exists()
        assert not ((copy / "stopped.txt").exists() and tracker.read(copy) != 24)
        assert last_intact(copy, [copy / damaged[0].relative_to(folder)]) == 16
    assert kill == 3 and tracker.read(copy) == 16 and tracker.complete(copy) == [8, 16]
