from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.tokenization.cutting import cut_tokens
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.pairs import PairLimits, write_pairs

from .conftest import random_texts


@pytest.mark.parametrize("seed_cut", ["head", "tail"])
def test_pairs_against_a_plain_loop(tmp_path, foldoc, tokenizer, seed_cut):
    texts = foldoc[:200] + random_texts(200, seed=3)
    write_texts(texts, tmp_path / "documents", tokenizer)
    documents = open_indexed(tmp_path / "documents")
    draw = np.random.default_rng(1)
    seeds, targets = draw.integers(0, len(texts), (2, 2500))
    limits = PairLimits(60, 45, seed_cut)
    counts = write_pairs(
        tmp_path / "pairs", documents, seeds, targets, limits, tokenizer.starts_character, tokenizer.end_of_document
    )
    pairs = open_indexed(tmp_path / "pairs")
    ids = tokenizer.encode_batch(texts)
    expected = {"pairs": 0, "seed_tokens": 0, "target_tokens": 0, "seeds_cut": 0, "targets_cut": 0}
    assert pairs.documents == 2500
    np.testing.assert_array_equal(pairs.bounds, np.arange(0, 5001, 2))
    for number, (seed, target) in enumerate(zip(seeds, targets, strict=True)):
        first = cut_tokens(np.array(ids[seed]), 60, tokenizer.starts_character, seed_cut).tolist()
        second = cut_tokens(np.array(ids[target]), 45, tokenizer.starts_character).tolist()
        if len(ids[target]) <= 45:
            second = [*second, tokenizer.end_of_document]
        assert pairs[2 * number].tolist() == first
        assert pairs[2 * number + 1].tolist() == second
        expected["pairs"] += 1
        expected["seed_tokens"] += len(first)
        expected["target_tokens"] += len(second)
        expected["seeds_cut"] += len(ids[seed]) > 60
        expected["targets_cut"] += len(ids[target]) > 45
    assert expected["seeds_cut"] > 100
    assert expected["targets_cut"] > 100
    assert counts.to_dict() == {**expected, "mean_target_tokens": expected["target_tokens"] / 2500}


def test_a_document_of_exactly_the_limit_is_not_cut(tmp_path, tokenizer):
    text = "A document of some tokens."
    size = len(tokenizer.encode_batch([text])[0])
    write_texts([text], tmp_path / "documents", tokenizer)
    documents, rows = open_indexed(tmp_path / "documents"), np.zeros(1, np.int64)
    for limit, cut in ((size, 0), (size - 1, 1)):
        counts = write_pairs(
            tmp_path / "p", documents, rows, rows, PairLimits(limit, limit, "tail"), tokenizer.starts_character, 0
        )
        assert (counts.seeds_cut, counts.targets_cut) == (cut, cut)
        assert counts.target_tokens == size + 1 - 2 * cut
        assert (open_indexed(tmp_path / "p").tokens[-1] == 0) == (not cut)
