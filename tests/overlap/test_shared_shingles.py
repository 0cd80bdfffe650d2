from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.overlap.shared_shingles import TokenSpans, shared_fractions
from megatron_sbp.overlap.shingles import shared_fraction, shingle_hashes


def spans(documents: list[list[int]], dtype=np.uint16) -> TokenSpans:
    """With a token between the documents, as on disk."""
    lengths = np.array([len(document) for document in documents], np.int64)
    tokens = np.concatenate([np.array([*document, 0], dtype) for document in documents])
    return TokenSpans(tokens, np.cumsum(lengths + 1) - lengths - 1, lengths)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@pytest.mark.parametrize("shingle", [1, 3, 13])
def test_same_figures_as_the_plain_measure(dtype, shingle):
    random = np.random.default_rng(shingle)
    documents = [random.integers(0, 40, random.integers(0, 90)).tolist() for _ in range(40)]
    for place in range(1, 40, 3):  # copies with changes
        documents[place] = documents[place - 1][5:] + documents[place][:20]
    documents[7], documents[8] = [], [3]
    seeds, targets = (column.ravel() for column in np.mgrid[:40, :40])
    hashes = [shingle_hashes(np.array(document, dtype), shingle) for document in documents]
    expected = [shared_fraction(hashes[seed], hashes[target]) for seed, target in zip(seeds, targets, strict=True)]
    found = shared_fractions(spans(documents, dtype), seeds, targets, shingle)
    np.testing.assert_array_equal(found, expected)
    assert (found[seeds != targets] > 0).sum() > 0 and found.max() == 1


def test_real_text(mined):
    from megatron_sbp.tokenization.indexed import open_indexed

    indexed = open_indexed(mined.tokens("real"))
    documents = TokenSpans(indexed.tokens, indexed.starts, indexed.lengths.astype(np.int64) - 1)
    random = np.random.default_rng(0)
    seeds, targets = np.sort(random.integers(0, 300, 500)), random.integers(0, 300, 500)
    hashes = [shingle_hashes(indexed[row][:-1], 4) for row in range(300)]
    expected = [shared_fraction(hashes[seed], hashes[target]) for seed, target in zip(seeds, targets, strict=True)]
    np.testing.assert_array_equal(shared_fractions(documents, seeds, targets, 4), expected)


def test_no_pairs():
    assert shared_fractions(spans([[1, 2]]), np.empty(0, np.int64), np.empty(0, np.int64), 13).size == 0
