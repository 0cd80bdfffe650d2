"""Which files of a corpus a rehearsal reads."""

from __future__ import annotations

import pytest
from support.numbered_documents import fill, recipe

from megatron_sbp.base.errors import InputError
from megatron_sbp.rehearsal.corpus import Corpus, CorpusFile, plan_corpus


def test_the_first_and_the_last_match_stand_for_a_pattern(tmp_path):
    for name in "abc":
        fill(tmp_path / "data" / f"{name}.jsonl", 0, 1)
    one = fill(tmp_path / "one.jsonl.gz", 0, 1)
    found = plan_corpus(recipe(tmp_path, "data/*.jsonl", "one.jsonl.gz"))
    assert found.patterns == ["0/*.jsonl", "1/00000.jsonl.gz"] and not found.made_up
    assert found.files == [
        CorpusFile("0/00000.jsonl", tmp_path / "data" / "a.jsonl"),
        CorpusFile("0/00001.jsonl", tmp_path / "data" / "c.jsonl"),
        CorpusFile("1/00000.jsonl.gz", one),
    ]


def test_a_file_that_two_patterns_match_is_read_once(tmp_path):
    for name in "ab":
        fill(tmp_path / f"{name}.jsonl", 0, 1)
    found = plan_corpus(recipe(tmp_path, "a.jsonl", "*.jsonl"))
    assert [file.source.name for file in found.files] == ["a.jsonl", "b.jsonl"]


def test_matches_of_several_kinds_keep_their_endings(tmp_path):
    fill(tmp_path / "a.jsonl", 0, 1)
    fill(tmp_path / "b.jsonl.gz", 0, 1)
    found = plan_corpus(recipe(tmp_path, "[ab].*"))
    assert found.patterns == ["0/*"] and [file.name for file in found.files] == ["0/00000.jsonl", "0/00001.jsonl.gz"]


def test_patterns_without_a_match_are_made_up_all_or_none(tmp_path):
    found = plan_corpus(recipe(tmp_path, "gone/*.parquet", "gone/one.jsonl"))
    assert found == Corpus(
        ["0/*.parquet", "1/00000.jsonl"],
        [CorpusFile(f"0/0000{n}.parquet", None) for n in range(2)] + [CorpusFile("1/00000.jsonl", None)],
        made_up=True,
    )
    fill(tmp_path / "there.jsonl", 0, 1)
    with pytest.raises(InputError, match="matches no file"):
        plan_corpus(recipe(tmp_path, "there.jsonl", "gone/*.jsonl"))


def test_a_file_whose_name_looks_like_a_pattern_is_there(tmp_path):
    one = fill(tmp_path / "data[1].jsonl", 0, 1)
    found = plan_corpus(recipe(tmp_path, "data[1].jsonl"))
    assert found.files == [CorpusFile("0/00000.jsonl", one)] and not found.made_up


def test_folders_that_are_in_themselves_are_no_labyrinth(tmp_path):
    """Python's own `**` follows these links 40 levels deep, and with two of them does not come back."""
    one = fill(tmp_path / "data" / "deep" / "a.jsonl", 0, 1)
    for name in ("back", "again"):
        (tmp_path / "data" / "deep" / name).symlink_to(tmp_path / "data")
    assert plan_corpus(recipe(tmp_path, "data/**/*.parquet")).made_up
    assert plan_corpus(recipe(tmp_path, "data/**/*.jsonl")).files == [CorpusFile("0/00000.jsonl", one)]


def test_what_the_run_passes_over_is_passed_over(tmp_path):
    one = fill(tmp_path / "data" / "a.jsonl", 0, 1)
    (tmp_path / "data" / "notes").mkdir()
    (tmp_path / "data" / "lost.jsonl").symlink_to(tmp_path / "gone")
    found = plan_corpus(recipe(tmp_path, "data/*", bad_documents="skip"))
    assert found.files == [CorpusFile("0/00000.jsonl", one)]
    with pytest.raises(InputError, match="does not exist"):
        plan_corpus(recipe(tmp_path, "data/*"))
