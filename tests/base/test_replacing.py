"""Former files are replaced by complete ones, and a kill at any instant mixes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.killed import killed_before

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.replacing import replace_files, replace_folder


def write_three(folder: Path, text: str) -> None:
    with replace_files(folder / "a", folder / "b", folder / "key") as partials:
        for partial in partials:
            partial.write_text(text)


def test_the_last_file_is_never_beside_files_that_are_not_its_own(tmp_path):
    kills = 1
    while True:
        write_three(tmp_path, "old")
        killed = killed_before(kills, lambda: write_three(tmp_path, "new"))
        found = [(tmp_path / name).read_text() for name in ("a", "b", "key") if (tmp_path / name).exists()]
        assert len(found) == 2 or found in (["old"] * 3, ["new"] * 3), (kills, found)
        if not killed:
            break
        kills += 1
    assert kills > 3 and found == ["new"] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "key"], "what a kill left is removed"


def test_an_error_leaves_the_former_files(tmp_path):
    write_three(tmp_path, "old")
    with pytest.raises(KeyboardInterrupt), replace_files(tmp_path / "a", tmp_path / "key") as (first, _):
        first.write_text("new")
        raise KeyboardInterrupt
    with pytest.raises(FileNotFoundError), replace_files(tmp_path / "a", tmp_path / "key") as (first, _):
        first.write_text("new")  # and nothing under the other name
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(("a", "b", "key"), "old")


def write_folder(target: Path, text: str) -> None:
    with replace_folder(target) as partial:
        for name in ("a", "b"):
            (partial / name).write_text(text)


def test_a_folder_is_the_former_or_the_new_one(tmp_path):
    target, kills, gone = tmp_path / "made", 1, 0
    while True:
        write_folder(target, "old")
        killed = killed_before(kills, lambda: write_folder(target, "new"))
        if target.exists():
            found = [path.read_text() for path in target.iterdir()]
            assert found in (["old"] * 2, ["new"] * 2), (kills, found)
        else:
            gone += 1
            assert (tmp_path / ".made.former/b").read_text() == "old"
            with pytest.raises(KeyboardInterrupt), replace_folder(target):
                raise KeyboardInterrupt
            assert (target / "b").read_text() == "old", "put back"
        if not killed:
            break
        kills += 1
    assert kills > 3 and gone == 1
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_an_error_leaves_the_former_folder(tmp_path):
    write_folder(tmp_path / "made", "old")
    with pytest.raises(KeyboardInterrupt), replace_folder(tmp_path / "made") as partial:
        (partial / "a").write_text("new")
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "made"]
    assert (tmp_path / "made/a").read_text() == "old"


def test_a_second_process_is_refused_and_removes_nothing_of_the_first(tmp_path):
    """Both would write into .made.partial, and the second removed what the first had written."""
    target = tmp_path / "made"
    with replace_folder(target) as partial:
        (partial / "a").write_text("first")
        with pytest.raises(InputError, match=r"made: another process is writing this folder"):
            write_folder(target, "second")  # locks of one process exclude each other too: they are those of open files
        (partial / "b").write_text("first")
    assert [path.read_text() for path in target.iterdir()] == ["first"] * 2
    write_folder(target, "third")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_an_error_between_the_two_renames_puts_the_former_folder_back(tmp_path):
    write_folder(tmp_path / "made", "old")
    with pytest.raises(FileNotFoundError), replace_folder(tmp_path / "made") as partial:
        partial.rmdir()  # so that it cannot take the place
    assert (tmp_path / "made" / "b").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_full_disk_is_named_by_the_folder(tmp_path):
    with pytest.raises(OSError) as full, replace_folder(tmp_path / "made"), open("/dev/full", "wb", 0) as target:
        target.write(b"text")
    assert full.value.filename == str(tmp_path / "made")
