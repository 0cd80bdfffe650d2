"""Shards that a process killed in the last step had written are not written again."""

from __future__ import annotations

import os

import numpy as np
import pytest
from support.small_corpus import contents, write

from megatron_sbp.documents import shard_writing, written_shards
from megatron_sbp.documents.parts import Part, PartWriter
from megatron_sbp.documents.reading import Document
from megatron_sbp.documents.shards import write_shard
from megatron_sbp.documents.written_shards import NAME, WrittenShards


@pytest.fixture
def corpus(tmp_path):
    """A part with nine documents, what stays of it, and a shard of it."""
    with PartWriter(tmp_path / "parts" / "0", 1) as writer:
        for line in range(1, 10):
            writer.add(Document(f"d{line}", f"text {line}", {"n": line}), line)
    part = Part(tmp_path / "parts" / "0")
    shard = tmp_path / "train" / "00000.jsonl.zst"
    return part, np.ones(9, bool), shard


def notes(corpus, *, keep=None, fields=()):
    part, stay, _ = corpus
    return WrittenShards(part.path.with_name(NAME), [part], [stay if keep is None else keep], fields)


def written(corpus):
    part, _, shard = corpus
    figures = write_shard(shard, [(part, np.arange(4))])
    notes(corpus).add(shard, part.rows[0], part.rows[3], figures)
    return figures


def test_a_written_shard_has_its_figures(corpus):
    part, _, shard = corpus
    assert notes(corpus).figures(shard, part.rows[0], part.rows[3]) is None
    figures = written(corpus)
    assert figures["documents"] == 4
    assert notes(corpus).figures(shard, part.rows[0], part.rows[3]) == figures


def test_a_shard_of_other_documents_is_another_one(corpus):
    part, _, shard = corpus
    written(corpus)
    assert notes(corpus).figures(shard, part.rows[0], part.rows[4]) is None
    assert notes(corpus).figures(shard.with_name("00001.jsonl.zst"), part.rows[0], part.rows[3]) is None


@pytest.mark.parametrize("other", [{"keep": np.arange(9) > 0}, {"fields": ["n"]}])
def test_another_choice_of_documents_or_fields_counts_nothing_as_written(corpus, other):
    part, _, shard = corpus
    written(corpus)
    assert notes(corpus, **other).figures(shard, part.rows[0], part.rows[3]) is None
    assert notes(corpus).figures(shard, part.rows[0], part.rows[3]) is None  # the notes are of the last call


def test_a_shard_written_again_with_the_same_size_is_not_trusted(corpus):
    part, _, shard = corpus
    written(corpus)
    data = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(data[:-1] + b"?")
    assert notes(corpus).figures(shard, part.rows[0], part.rows[3]) is None


@pytest.fixture
def stopped(tmp_path, run_documents, monkeypatch):
    """A run that was interrupted in its fourth shard of six, its settings, and what an undisturbed one has."""
    write(tmp_path / "a.jsonl", range(60))
    settings = {"train": 40, "valid": 8, "test": 8, "oracle": 0, "documents_per_shard": 10}
    whole = contents(run_documents("whole", **settings))
    assert not any("parts" in name for name in whole)
    write_shard, names = shard_writing.write_shard, []

    def counted(path, *args, **kwargs):
        names.append(f"{path.parent.name}/{path.name[:5]}")
        if len(names) == 4 and stops:
            raise KeyboardInterrupt
        return write_shard(path, *args, **kwargs)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(shard_writing, "write_shard", counted)
    stops = True
    with pytest.raises(KeyboardInterrupt):
        run_documents("stopped", **settings)
    stops = False
    names.clear()
    parts = tmp_path / "stopped" / "documents" / "parts"
    assert (parts / "00000.rows").exists()
    return parts, lambda: contents(run_documents("stopped", **settings)) == whole, names


def test_killed_while_writing_it_goes_on_and_ends_with_the_same_bytes(stopped, capsys):
    _, again, written = stopped
    assert again()
    assert written == ["train/00001", "train/00002", "train/00003"]
    assert "documents: 3 of 6 shards are already written" in capsys.readouterr().err
    assert again() and len(written) == 3


def test_shards_that_changed_while_it_was_interrupted_are_written_again(stopped):
    parts, again, written = stopped
    shard = parts.parent / "test" / "00000.jsonl.zst"
    shard.write_bytes(shard.read_bytes()[:-1])
    (parts.parent / "ids" / "valid" / "00000.parquet").unlink()
    assert again()
    assert written == ["test/00000", "valid/00000", "train/00001", "train/00002", "train/00003"]


def test_a_note_that_was_cut_off_does_not_count(stopped):
    parts, again, written = stopped
    notes = parts / written_shards.NAME
    notes.write_bytes(notes.read_bytes()[:-9])
    assert again()
    assert written == ["train/00000", "train/00001", "train/00002", "train/00003"]


def test_shards_cut_from_parts_that_were_read_again_are_written_again(stopped):
    parts, again, written = stopped
    (parts / "00000.rows").unlink()
    assert again()
    assert len(written) == 6
