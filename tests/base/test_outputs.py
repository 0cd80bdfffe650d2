"""Outputs that may not be written are found out before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.outputs import check_apart, check_file, check_folder

OWN = ("made.json", "part-*.bin", "release/*.distcp")


def contents(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_file_that_may_be_written_leaves_no_trace(tmp_path):
    (tmp_path / "there.npy").write_text("replaced later")
    before = contents(tmp_path)
    for name in ("new.npy", "there.npy", "some/where/new.npy"):
        check_file(tmp_path / name, [tmp_path / "other"], ".npy")
    assert contents(tmp_path) == before


def test_files_that_may_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    refused = {
        "a.txt": "must end in .npy",
        "\udcff.npy": "bytes in its path that are not UTF-8",
        "folder.npy": "is a folder",
        "file/a.npy": "file is not a folder",
        "nowhere/a.npy": "nowhere is not a folder",
        "/proc/a.npy": "cannot create files in /proc",
        "n" * 300 + ".npy": "File name too long",
    }
    for name, reason in refused.items():
        with pytest.raises(InputError, match=reason) as caught:
            check_file(Path(name), (), ".npy")
        assert str(caught.value.file) == name
    for path in (Path(), Path("/"), Path(".."), Path("pipe")):
        with pytest.raises(InputError, match=r"is a folder|is not a regular file"):
            check_file(path)
    for path in (Path("file"), Path("link"), tmp_path / "folder.npy/../file"):
        with pytest.raises(InputError, match="is read as an input, and would be overwritten"):
            check_file(path, [tmp_path / "file"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot create files in"):
        check_file(tmp_path / "a")


def test_folders_that_may_be_replaced(tmp_path):
    check_folder(tmp_path / "new/er", "made.json", OWN)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", "made.json", OWN)
    made = tmp_path / "made"
    (made / "release").mkdir(parents=True)
    for name in ("made.json", "part-1.bin", "release/0.distcp"):
        (made / name).write_text("")
    check_folder(made, "made.json", OWN)


@pytest.mark.parametrize("name", ["thesis.txt", "part-1.bin.txt", "release/thesis.txt", "part-x/y.bin", "a/made.json"])
def test_a_folder_with_something_else_in_it_may_not(tmp_path, name):
    made = tmp_path / "made"
    (made / name).parent.mkdir(parents=True)
    (made / "made.json").write_text("")
    (made / name).write_text("years of work")
    with pytest.raises(InputError, match=f"made: holds {name}, which this program did not write"):
        check_folder(made, "made.json", OWN)


def test_other_folders_that_may_not(tmp_path, monkeypatch):
    (tmp_path / "unmarked").mkdir()
    (tmp_path / "unmarked/part-1.bin").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "unmarked")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path / "unmarked")
    refused = {
        tmp_path / "unmarked": "holds part-1.bin",
        tmp_path / "link": "is a symbolic link",
        tmp_path / "file": "is a file",
        tmp_path / "file/new": "file is not a folder",
        Path("/proc/new"): "cannot create files in",
        Path(): "cannot be replaced as a whole",
    }
    for path, reason in refused.items():
        with pytest.raises(InputError, match=reason):
            check_folder(path, "made.json", OWN)


def test_a_folder_and_the_inputs(tmp_path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a/b")
    given = tmp_path / "a/b"
    check_apart(tmp_path / "a/new", [given, tmp_path / "not there", "Qwen/Qwen3-0.6B"])
    for name, reason in {
        "a": "contains the input",
        "a/b": "is read as an input",
        "a/b/c/d": "is inside the input",
    }.items():
        with pytest.raises(InputError, match=reason):
            check_apart(tmp_path / name, [given])
    with pytest.raises(InputError, match="is read as an input"):
        check_apart(tmp_path / "link", [given])
