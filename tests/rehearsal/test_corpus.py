"""The files of a rehearsal: which ones stand for the corpus, how much of each is read, and what is in them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Documents, Recipe
from megatron_sbp.rehearsal.corpus import Corpus, CorpusFile, plan_corpus, write_corpus


def recipe(folder: Path, *inputs: str, **more) -> Recipe:
    documents = Documents(inputs=[str(folder / each) for each in inputs], train=10, valid=2, test=2, **more)
    return small_recipe(folder / "run", documents)


def fill(path: Path, first: int, count: int, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"text": f"document {n} " + "word " * 10, **more}) + "\n" for n in range(first, first + count)]
    path.write_bytes(gzip.compress("".join(rows).encode()) if path.suffix == ".gz" else "".join(rows).encode())
    return path


def numbers(path: Path) -> list[int]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [int(json.loads(line)["text"].split()[1]) for line in data.splitlines()]


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


def test_a_corpus_of_many_small_files(tmp_path):
    for number in range(40):
        fill(tmp_path / "data" / f"{number:02d}.jsonl", 3 * number, 3)
    fill(tmp_path / "data" / "05.jsonl.gz", 1000, 3)
    settings = recipe(tmp_path, "data/*")
    planned = plan_corpus(settings)
    assert [file.source.name for file in planned.files] == ["00.jsonl", "39.jsonl"]
    found = write_corpus(planned, tmp_path / "out", settings.documents, count=20, seed=1, group_field=None)
    assert len(found.texts) == 32, "with twelve to spare"
    files = sorted((tmp_path / "out").glob(planned.patterns[0]))
    read = [number for file in files for number in numbers(file)]
    assert sorted(read) == [*range(29), 117, 118, 119] and len(files) == 11


def test_nothing_more_is_read_of_a_corpus_without_a_usable_document(tmp_path):
    for number in range(5):
        fill(tmp_path / "data" / f"{number}.jsonl", number, 1)
    settings = recipe(tmp_path, "data/*", text_field="body")
    with pytest.raises(InputError, match="has 0 usable documents"):
        write_corpus(plan_corpus(settings), tmp_path / "out", settings.documents, count=3, seed=1, group_field=None)
    assert len(list((tmp_path / "out" / "0").iterdir())) == 2


def test_small_files_are_read_whole_and_the_large_make_up_for_them(tmp_path):
    """Twelve documents more than needed are taken: some may be duplicates."""
    large = fill(tmp_path / "a.jsonl", 0, 200)
    small = fill(tmp_path / "b.jsonl.gz", 1000, 5)
    settings = recipe(tmp_path, "a.jsonl", "b.jsonl.gz").documents
    planned = Corpus(["x", "y"], [CorpusFile("x.jsonl", large), CorpusFile("y.jsonl.gz", small)], False)
    found = write_corpus(planned, tmp_path / "out", settings, count=40, seed=1, group_field=None)
    assert numbers(tmp_path / "out" / "y.jsonl.gz") == [*range(1000, 1005)]
    assert numbers(tmp_path / "out" / "x.jsonl") == [*range(47)]
    assert len(found.texts) == 52 and found.groups == []


def test_duplicates_and_short_documents_are_copied_and_not_counted(tmp_path):
    source = fill(tmp_path / "a.jsonl", 0, 30)
    lines = source.read_text().splitlines(keepends=True)
    source.write_text(lines[0] * 5 + '{"text": "hi"}\n' + "".join(lines[1:]))
    settings = recipe(tmp_path, "a.jsonl", min_characters=10).documents
    found = write_corpus(
        Corpus(["x"], [CorpusFile("x.jsonl", source)], False), tmp_path, settings, count=3, seed=1, group_field=None
    )
    copied = (tmp_path / "x.jsonl").read_text().splitlines(keepends=True)
    assert copied == (lines[0] * 5 + '{"text": "hi"}\n' + "".join(lines[1:15])).splitlines(keepends=True)
    assert len(found.texts) == 15 == len(set(found.texts))


def test_groups_are_those_of_the_documents(tmp_path):
    source = fill(tmp_path / "a.jsonl", 0, 20, who="Ada")
    settings = recipe(tmp_path, "a.jsonl", keep_fields=["who"]).documents
    planned = Corpus(["x"], [CorpusFile("x.jsonl", source)], False)
    found = write_corpus(planned, tmp_path, settings, count=5, seed=1, group_field="who")
    assert found.groups == ["Ada"] * 17
    made_up = Corpus(["x"], [CorpusFile("made.jsonl", None)], True)
    found = write_corpus(made_up, tmp_path, settings, count=5, seed=1, group_field="who")
    rows = [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]
    assert [row["who"] for row in rows[:-1]] == found.groups and len(found.groups) == 17
    assert rows[-1] == rows[-2]  # a duplicate to drop


def test_too_few_documents_are_an_error(tmp_path):
    source = fill(tmp_path / "a.jsonl", 0, 20)
    planned = Corpus(["x"], [CorpusFile("x.jsonl", source)], False)
    settings = recipe(tmp_path, "a.jsonl").documents
    with pytest.raises(InputError, match=r"'documents.inputs': has 20 usable documents, but the rehearsal needs 21"):
        write_corpus(planned, tmp_path, settings, count=21, seed=1, group_field=None)
