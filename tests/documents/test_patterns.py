"""Patterns of a corpus: as glob's, but for circles of links and folders that cannot be read."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.patterns import names_matching

PATTERNS = ["*", "**", "**/*", "**/*.jsonl", "a/**", "a/**/c*", "*/**/*.jsonl", "**/b/**/*", "**/**/x.jsonl", "a?/**/*",
            "./**/*.jsonl", "**/.hidden/*", "a/../**/*.jsonl", "nowhere/**/*", "a//**/*"]  # fmt: skip


@pytest.fixture
def tree(tmp_path) -> Path:
    for name in (
        "x.jsonl",
        "a/x.jsonl",
        "a/b/c.jsonl",
        "a/b/b/c.jsonl.gz",
        "ab/y.jsonl",
        ".hidden/z.jsonl",
        "a/.w.jsonl",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "linked").symlink_to("a/b")
    (tmp_path / "ab" / "nothing.jsonl").symlink_to("gone")
    return tmp_path


def files_of(names: list[str], folder: Path) -> set[str]:
    return {os.path.normpath(name) for name in names if not (folder / name).is_dir()}


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_files_are_those_of_glob(tree, pattern, absolute):
    pattern = f"{tree}/{pattern}" if absolute else pattern
    found = names_matching(pattern, tree, recursive=True)
    assert files_of(found, tree) == files_of(glob.glob(pattern, root_dir=tree, recursive=True), tree)  # noqa: PTH207
    assert len(found) == len(set(found))


@pytest.mark.parametrize("pattern", ["nowhere/**", "a/x.jsonl/**"])
def test_what_is_no_folder_has_nothing_below_it(tree, pattern):
    assert names_matching(pattern, tree, recursive=True) == []


def test_circles_of_links_end(tmp_path):
    """Two of them kept glob busy for good."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jsonl").touch()
        for number in range(3):
            (tmp_path / name / f"up{number}").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    found = names_matching("**/*.jsonl", tmp_path, recursive=True)
    assert {"a/x.jsonl", "b/x.jsonl"} <= set(found) and len(found) < 30
    assert {(tmp_path / name).resolve() for name in found} == {tmp_path / "a/x.jsonl", tmp_path / "b/x.jsonl"}


def test_an_error_while_a_folder_is_read(tree, monkeypatch):
    """As of a file system that has gone, or as another user sees it."""
    real = os.scandir

    def scandir(path):
        if str(path).endswith("a/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"a/b: the folder cannot be read \(Permission denied\)"):
        names_matching("**/*.jsonl", tree, recursive=True)
