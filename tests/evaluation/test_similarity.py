"""Similarity to the seed document, of kept and of raw texts, by the embedder that embedded the documents."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.evaluation.sheet import Sampled
from megatron_sbp.evaluation.similarity import similarity_figures

SEEDED = ("to_seed", "random_pairs", "seed_gain", "reads_seed")


def texts_of(documents: list[str], seed_rows: list[int | None]) -> list[Sampled]:
    rows = zip(documents, seed_rows, strict=True)
    return [Sampled(text, np.empty(0, np.int64), {"seed_row": row}) for text, row in rows]


@pytest.fixture(scope="module")
def documents(mined) -> list[str]:
    return [row["text"] for shard in mined.document_shards("train") for row in files.read_jsonl_zst(shard)][:30]


def test_raw_generations_have_figures_of_their_own(mined, documents):
    """Kept texts that are about something else, of raw ones that repeat their seed document."""
    rows = list(range(30))
    samples = {"synthetic": texts_of(documents[15:], rows[:15]), "generations": texts_of(documents, rows)}
    found = similarity_figures(mined.embeddings("train"), mined.pairs("train"), samples, mined.recipe)
    raw = found["generations"]
    assert (found["documents"], raw["documents"]) == (15, 30)
    assert raw["to_seed"] == pytest.approx(1, abs=2e-3) and raw["reads_seed"] and not found["reads_seed"]
    low, high = raw["intervals"]["random_pairs"]
    assert low < raw["random_pairs"] < high < 0.5
    low, high = found["intervals"]["to_seed"]
    assert low < found["to_seed"] < high < 0.5 < found["real_pairs"]
    assert raw["seed_gain"] == pytest.approx(raw["to_seed"] - raw["random_pairs"])


def test_empty_texts_do_not_count(mined, documents):
    """Some models embed nothing as a zero: a raw generation that had ended at once ended the evaluation."""
    samples = {"synthetic": texts_of(["", *documents[:9]], [*range(10)]), "generations": texts_of(["", " \n"], [0, 1])}
    found = similarity_figures(mined.embeddings("train"), None, samples, mined.recipe)
    full = {"synthetic": texts_of(documents[:9], [*range(1, 10)]), "generations": []}
    assert found == similarity_figures(mined.embeddings("train"), None, full, mined.recipe)
    assert found["documents"] == 9 and found["generations"]["documents"] == 0


def test_texts_without_a_seed_document_have_none(mined, documents):
    samples = {"synthetic": [], "generations": texts_of(documents[:5], [0, 1, None, 3, 4])}
    found = similarity_figures(mined.embeddings("train"), None, samples, mined.recipe)
    for figures in (found, found["generations"]):
        assert {figures[name] for name in SEEDED} == {None}
    assert found["real_pairs"] is None and found["real_random_pairs"] is not None
