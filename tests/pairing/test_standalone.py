"""Mining without a run folder: documents and their vectors in, pairs and an audit out."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.foreign import Source
from megatron_sbp.pairing.standalone import mine
from megatron_sbp.recipe import Neighbors, Pairs
from megatron_sbp.tokenization.bpe import train_bpe

ROLES = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}
NEIGHBORS = Neighbors(engine="exact", k=2)


@pytest.fixture
def corpus(tmp_path):
    """Four documents: 0 and 1 are about one thing, 2 and 3 about another; 3 is 2 over again."""
    texts = [
        "a cat sat on a mat today",
        "one cat lay on some mats",
        "stones fall down the hill " * 3,
        "stones fall down the hill " * 3,
    ]
    rows = [{"id": f"d{row}", "text": text} for row, text in enumerate(texts)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    vectors = np.array([[1, 0.1], [1, 0.2], [0.1, 1], [0.1, 1]])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    np.save(tmp_path / "a.npy", vectors[:1])
    np.save(tmp_path / "b.npy", vectors[1:])
    source = Source([str(tmp_path / "d.jsonl")], "text", "id")
    return source, [tmp_path / "a.npy", tmp_path / "b.npy"], train_bpe(texts, 300, ROLES)


def test_related_documents_become_pairs_and_copies_do_not(corpus, tmp_path):
    source, vectors, tokenizer = corpus
    found = mine(source, vectors, tmp_path / "pairs.parquet", tokenizer, NEIGHBORS, Pairs(alpha=0.8), device="cpu")
    pairs = pq.read_table(tmp_path / "pairs.parquet").to_pylist()
    assert {(pair["seed_id"], pair["target_id"]) for pair in pairs} == {("d0", "d1"), ("d1", "d0")}
    assert found["kept"] == 2 and found["candidates"] == 8 and found["recall_at_k"] == 1.0
    assert sum(found["dropped"].values()) == 6
    assert files.read_json(tmp_path / "pairs.audit.json") == json.loads(json.dumps(found))


def test_vectors_of_other_documents_are_an_error_with_both_numbers(corpus, tmp_path):
    source, vectors, tokenizer = corpus
    with pytest.raises(InputError, match="there are 3 embeddings for 4 documents"):
        mine(source, vectors[1:], tmp_path / "p.parquet", tokenizer, NEIGHBORS, Pairs(alpha=0.8), device="cpu")
    assert not (tmp_path / "p.parquet").exists()


def test_near_duplicates_as_the_relation(corpus, tmp_path):
    source, vectors, tokenizer = corpus
    rules = Pairs(alpha=0.8, relation="near_duplicates")
    mine(source, vectors, tmp_path / "p.parquet", tokenizer, NEIGHBORS, rules, device="cpu")
    pairs = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert {(pair["seed_id"], pair["target_id"]) for pair in pairs} == {("d2", "d3"), ("d3", "d2")}
