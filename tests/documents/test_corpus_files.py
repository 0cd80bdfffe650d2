"""Which files a corpus has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.documents_read import read, settings

from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.corpus_files import matching_files


def test_a_link_has_the_name_that_says_what_is_in_it(tmp_path):
    """As in the cache of the Hugging Face hub, whose files are named by their digests."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "blobs" / "abc123").write_text('{"text": "one"}\n')
    (tmp_path / "blobs" / "real.jsonl").write_text('{"text": "two"}\n')
    for link, blob in (("train.jsonl", "abc123"), ("again.jsonl", "abc123"), ("other.jsonl", "real.jsonl")):
        (tmp_path / "snapshots" / link).symlink_to(f"../blobs/{blob}")
    found = matching_files(["snapshots/*"], tmp_path, source=None, key=None)
    place = tmp_path.resolve()
    # The first name of what several have; and what a run has read by its own name keeps it.
    assert found == [place / "blobs" / "real.jsonl", place / "snapshots" / "again.jsonl"]
    assert [document.text for _, document in read(found[1], settings())] == ["one"]


def test_patterns(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.jsonl", "a.jsonl", "deep/er/c.jsonl.gz", "d.txt"):
        (tmp_path / name).touch()

    def names(*patterns: str) -> list[str]:
        found = matching_files(list(patterns), tmp_path, source=Path("recipe.yaml"), key="documents.inputs")
        return [path.relative_to(tmp_path.resolve()).as_posix() for path in found]

    assert names("*.jsonl", "a.jsonl") == ["a.jsonl", "b.jsonl"]
    assert names("**/*.jsonl*") == ["a.jsonl", "b.jsonl", "deep/er/c.jsonl.gz"]
    assert names(str(tmp_path / "deep" / "*" / "*")) == ["deep/er/c.jsonl.gz"]
    with pytest.raises(InputError, match=r"recipe.yaml: 'documents.inputs': 'x\*' matches no file"):
        names("*.jsonl", "x*")
    with pytest.raises(InputError, match=r"deep: .*is a folder"):
        names("deep")  # a folder
    with pytest.raises(InputError, match=r"d.txt.*is none of .jsonl"):
        names("d.txt")


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    """`part[1].jsonl` matched no file, also where a shell had named it."""
    for name in ("part[1].jsonl", "part1.jsonl"):
        (tmp_path / name).write_text("{}")
    assert matching_files(["part[1].jsonl"], tmp_path) == [tmp_path / "part[1].jsonl"]
    assert matching_files(["part[2-9]*.jsonl", "*1.jsonl"][1:], tmp_path) == [tmp_path / "part1.jsonl"]


def test_a_name_that_is_not_utf8(tmp_path):
    """The run could not write it down, and ended with a traceback."""
    (tmp_path / os.fsdecode(b"caf\xe9.jsonl")).write_text("{}")
    with pytest.raises(InputError, match=r"caf\\udce9\.jsonl: has bytes in its path that are not UTF-8"):
        matching_files(["*.jsonl"], tmp_path)
