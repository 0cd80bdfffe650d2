from __future__ import annotations

import numpy as np

from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.copies import find_copies
from megatron_sbp.recipe import Pairs

TEXT = list(range(100, 140))


def copies(ids: list[list[int]], scores: list[list[float]], texts: list[list[int]], first_row: int = 0, **rules):
    lengths = np.array([len(text) for text in texts], np.int64)
    documents = TokenSpans(np.concatenate(texts).astype(np.uint16), np.cumsum(lengths) - lengths, lengths)
    found = find_copies(np.array(ids), np.array(scores, np.float32), first_row, documents, Pairs(**rules))
    assert found.dtype == np.int64
    return found.tolist()


def test_only_the_first_of_documents_that_say_the_same_is_none():
    texts = [TEXT, [*TEXT[:39], 5], TEXT[1:], list(range(500, 540))]
    ids = [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    scores = [[0.9, 0.9, 0.9]] * 4
    assert copies(ids, scores, texts, collapse_above=0.8) == [1, 2]
    assert copies(ids, scores, texts, collapse_above=1.0) == []  # none shares more than all
    assert copies(ids, scores, texts) == []
    assert copies(ids[1:], scores[1:], texts, first_row=1, collapse_above=0.8) == [1, 2]


def test_what_is_not_similar_or_shares_less_is_no_copy():
    texts = [TEXT, TEXT, [*TEXT[:20], *range(700, 720)]]
    ids, scores = [[1, -1], [0, -1], [0, 1]], [[0.7, -2], [0.7, -2], [0.9, 0.9]]
    assert copies(ids, scores, texts, collapse_above=0.5) == []  # the first two are not above alpha
    assert copies(ids, scores, texts, collapse_above=0.5, alpha=0.6) == [1]
    assert copies(ids, scores, texts, collapse_above=0.2, alpha=0.6) == [1, 2]


def test_no_documents():
    assert copies([[]], [[]], [TEXT], collapse_above=0.5) == []
