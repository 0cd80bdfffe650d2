from __future__ import annotations

import numpy as np
import pytest

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
