"""Which checkpoint a training continues from, after every kind of interruption."""

from __future__ import annotations

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint import tracker


def test_tracker(tmp_path):
    assert tracker.read(tmp_path) is None
    (tmp_path / tracker.NAME).write_text("")
    assert tracker.read(tmp_path) is None and not (tmp_path / tracker.NAME).exists()
    for iteration in (3, 12):
        (tmp_path / f"iter_{iteration:07d}").mkdir()
    (tmp_path / "iter_0000003" / "metadata.json").write_text("{}")
    (tmp_path / tracker.NAME).write_text("3")
    assert tracker.read(tmp_path) == 3 and tracker.complete(tmp_path) == [3]
    for text, message in (("12", "names iteration 12"), ("x", "not an iteration")):
        (tmp_path / tracker.NAME).write_text(text)
        with pytest.raises(InputError, match=message):
            tracker.read(tmp_path)


def test_only_megatrons_own_names_are_checkpoints(tmp_path):
    for name in ("iter_0000003", "iter_0000012", "iter_0000012.bak", "iter_12", "iter_", "iter_12345678"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.json").write_text("{}")
    (tmp_path / "iter_0000020").mkdir()
    (tmp_path / "iter_0000030").touch()
    assert tracker.complete(tmp_path) == [3, 12, 12345678]
    assert list(tracker.written(tmp_path)) == [3, 12, 20, 12345678]


def test_a_checkpoint_whose_last_file_a_crash_of_the_machine_left_empty_is_not_complete(tmp_path):
    """Megatron could not load it, at every start again."""
    for iteration, text in ((3, "{}"), (12, "")):
        (tmp_path / f"iter_{iteration:07d}").mkdir()
        (tmp_path / f"iter_{iteration:07d}" / "metadata.json").write_text(text)
    (tmp_path / tracker.NAME).write_text("12")
    with pytest.raises(InputError, match=r"names iteration 12, but the complete checkpoints here are \[3\]; write one"):
        tracker.read(tmp_path)
    (tmp_path / tracker.NAME).write_text("")
    assert tracker.read(tmp_path) == 3


def test_a_look_at_the_tracker_changes_nothing(tmp_path):
    assert tracker.peek(tmp_path) is None
    for text, found in (("", None), ("12\n", 12), ("release", None)):
        (tmp_path / tracker.NAME).write_text(text)
        assert tracker.peek(tmp_path) == found and (tmp_path / tracker.NAME).read_text() == text
