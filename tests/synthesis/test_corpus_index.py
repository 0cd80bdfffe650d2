"""The index of D's shingles from a dataset to the folder that filters open; the index itself is in tests/overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.planning import index_layout
from megatron_sbp.synthesis import corpus_index
from megatron_sbp.synthesis.corpus_index import (
    close_index,
    index_plan,
    open_corpus_index,
    plan_corpus_index,
    write_index_part,
)
from megatron_sbp.tokenization.encoding import write_texts


def built(tokens: Path, folder: Path, shingle: int = 13) -> dict:
    plan = plan_corpus_index(tokens, shingle, 1)
    for part in range(plan.parts):
        assert [file.parent for file in write_index_part(tokens, shingle, plan, part, folder)] == [
            folder / "starts", folder / "remainders"
        ]  # fmt: skip
    return close_index(shingle, plan, folder)


def test_documents_of_d_are_found_whole_and_others_hardly(tmp_path, tokenizer, texts, monkeypatch):
    """In several parts; the end-of-document token belongs to no shingle."""
    monkeypatch.setattr(corpus_index, "PART_HASHES", 500)
    own, others = texts[:12], texts[12:]
    write_texts(own, tmp_path / "real", tokenizer)
    said = built(tmp_path / "real", tmp_path / "index")
    assert index_plan(tmp_path / "index").parts > 2 and said["sampled"] == 1
    index = open_corpus_index(tmp_path / "index")
    assert len(index) == said["entries"]
    for text in own:
        found, whole = index.counts([np.array(tokenizer.encode_batch([text])[0])])[0]
        assert found == whole > 0
    ids = [np.array(one) for one in tokenizer.encode_batch(others)]
    found, whole = index.counts(ids).sum(axis=0)
    known = {one[at : at + 13] for one in map(tuple, tokenizer.encode_batch(own)) for at in range(len(one) - 12)}
    shared = sum(len({tuple(one[at : at + 13]) for at in range(len(one) - 12)} & known) for one in map(tuple, ids))
    assert shared <= found <= shared + 3 and whole > 1000
    assert said["false_positives"] < 1e-3


def test_it_is_not_open_before_it_is_closed(tmp_path, tokenizer, texts):
    write_texts(texts[:3], tmp_path / "real", tokenizer)
    plan = plan_corpus_index(tmp_path / "real", 13, 1)
    write_index_part(tmp_path / "real", 13, plan, 0, tmp_path / "index")
    with pytest.raises(OSError, match=r"index\.json"):
        open_corpus_index(tmp_path / "index")
    close_index(13, plan, tmp_path / "index")
    assert index_plan(tmp_path / "index") == plan
    assert files.read_json(tmp_path / "index" / "index.json")["shingle_tokens"] == 13
    assert plan.parts == 1 and index_layout.PART_HASHES > 1_000_000, "what a real index is divided by"
