"""How much of each file a rehearsal reads, and what is in the files that it writes."""

from __future__ import annotations

import json

import pytest
from support.numbered_documents import fill, numbers, recipe

from megatron_sbp.base.errors import InputError
from megatron_sbp.rehearsal.corpus import Corpus, CorpusFile, plan_corpus
from megatron_sbp.rehearsal.written_corpus import write_corpus


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
