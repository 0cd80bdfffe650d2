"""Mining without a run folder: documents and their vectors in, pairs and an audit out."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.foreign import Source
from megatron_sbp.pairing.standalone_mining import mine
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
    found = mine(
        source,
        vectors,
        tmp_path / "pairs.parquet",
        tokenizer=tokenizer,
        neighbors=NEIGHBORS,
        rules=Pairs(alpha=0.8),
        device="cpu",
    )
    pairs = pq.read_table(tmp_path / "pairs.parquet").to_pylist()
    assert {(pair["seed_id"], pair["target_id"]) for pair in pairs} == {("d0", "d1"), ("d1", "d0")}
    assert found["kept"] == 2 and found["candidates"] == 8 and found["recall_at_k"] == 1.0
    assert sum(found["dropped"].values()) == 6
    assert files.read_json(tmp_path / "pairs.audit.json") == json.loads(json.dumps(found))


def test_vectors_of_other_documents_are_an_error_with_both_numbers(corpus, tmp_path):
    source, vectors, tokenizer = corpus
    with pytest.raises(InputError, match="there are 3 embeddings for 4 documents"):
        mine(
            source,
            vectors[1:],
            tmp_path / "p.parquet",
            tokenizer=tokenizer,
            neighbors=NEIGHBORS,
            rules=Pairs(alpha=0.8),
            device="cpu",
        )
    assert not (tmp_path / "p.parquet").exists()


def test_near_duplicates_as_the_relation(corpus, tmp_path):
    source, vectors, tokenizer = corpus
    rules = Pairs(alpha=0.8, relation="near_duplicates")
    mine(source, vectors, tmp_path / "p.parquet", tokenizer=tokenizer, neighbors=NEIGHBORS, rules=rules, device="cpu")
    pairs = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert {(pair["seed_id"], pair["target_id"]) for pair in pairs} == {("d2", "d3"), ("d3", "d2")}


def mined(corpus, tmp_path, vectors, *, neighbors=NEIGHBORS, **rules):
    """Pairs of as many of the corpus's documents as there are vectors."""
    source, _, tokenizer = corpus
    rows = [json.dumps(document.as_dict()) + "\n" for document in source.documents()]
    (tmp_path / "some.jsonl").write_text("".join(rows[: len(vectors)]))
    np.save(tmp_path / "v.npy", vectors)
    source = Source([str(tmp_path / "some.jsonl")], "text", "id")
    output = tmp_path / "p.parquet"
    found = mine(
        source,
        [tmp_path / "v.npy"],
        output,
        tokenizer=tokenizer,
        neighbors=neighbors,
        rules=Pairs(**rules),
        device="cpu",
    )
    return found, pq.read_table(output).to_pylist()


def vectors_of(corpus):
    return np.concatenate([np.load(file) for file in corpus[1]])


@pytest.mark.parametrize("engine", ["exact", "scann"])
def test_k_beyond_the_corpus(corpus, tmp_path, engine):
    """Every other document is a neighbor, and no list is longer."""
    neighbors = Neighbors(engine=engine, k=50)
    found, pairs = mined(corpus, tmp_path, vectors_of(corpus), neighbors=neighbors, alpha=0.8)
    assert (found["candidates"], found["recall_at_k"]) == (12, 1.0)
    assert {(pair["seed_id"], pair["target_id"]) for pair in pairs} == {("d0", "d1"), ("d1", "d0")}


@pytest.mark.parametrize("engine", ["exact", "scann"])
def test_one_document_has_no_pairs(corpus, tmp_path, engine):
    with pytest.raises(InputError, match="no pairs: the given split has 1 document"):
        mined(corpus, tmp_path, vectors_of(corpus)[:1], neighbors=Neighbors(engine=engine, k=5), alpha=0.8)
    assert not (tmp_path / "p.parquet").exists()


@pytest.mark.parametrize("engine", ["exact", "scann"])
def test_all_vectors_equal_and_scores_above_one_by_rounding(corpus, tmp_path, engine):
    """All pairs of unlike texts are pairs; a score a little above 1 is in the last bin and in the last band."""
    vectors = np.full((4, 5), 1 / np.sqrt(5)).astype(np.float16)
    assert (vectors.astype(float) ** 2).sum(axis=1).max() > 1
    found, pairs = mined(corpus, tmp_path, vectors, neighbors=Neighbors(engine=engine, k=3), alpha=0.9)
    assert {(pair["seed_id"], pair["target_id"]) for pair in pairs} == {
        (f"d{seed}", f"d{target}")
        for seed in range(4)
        for target in range(4)
        if seed != target and {seed, target} != {2, 3}
    }
    assert found["largest_score"] > 1 and found["recall_at_k"] == 1.0
    histogram = found["score_histogram"]
    assert (histogram["edges"], histogram["kept"]) == ([0.98, 1.0][-len(histogram["edges"]) :], [10])
    [band] = found["bands"]
    assert (band["from"], band["to"], band["pairs"], len(band["examples"])) == (0.95, 1.0, 10, 5)


def test_a_bad_vector_names_file_row_and_document(corpus, tmp_path):
    vectors = vectors_of(corpus)
    vectors[2] = np.nan
    with pytest.raises(
        InputError, match=r"v.npy: the vector in row 2 \(document id d2\) has values that are not finite"
    ):
        mined(corpus, tmp_path, vectors, alpha=0.8)


def test_files_of_other_dimensions(corpus, tmp_path):
    source, vectors, tokenizer = corpus
    np.save(vectors[1], np.eye(3, dtype=np.float16))
    with pytest.raises(InputError, match=r"b\.npy: has 3 dimensions, but a\.npy has 2"):
        mine(
            source,
            vectors,
            tmp_path / "p.parquet",
            tokenizer=tokenizer,
            neighbors=NEIGHBORS,
            rules=Pairs(alpha=0.8),
            device="cpu",
        )
