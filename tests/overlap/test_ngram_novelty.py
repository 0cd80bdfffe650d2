"""Novel n-grams for every n, against a plain count with sets."""

from __future__ import annotations

import numpy as np

from megatron_sbp.overlap.ngram_novelty import NgramNovelty


def plainly(text: str, corpus: list[str], n: int, own: int) -> tuple[int, int]:
    def grams(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[at : at + n]) for at in range(len(words) - n + 1)}

    found = grams(text.lower().split())
    others = set().union(*(grams(other.lower().split()) for row, other in enumerate(corpus) if row != own))
    return len(found - others), len(found)


def test_counts_are_those_of_sets_for_every_n():
    random = np.random.default_rng(1)

    def some(words: int) -> str:
        return " ".join(f"W{word}" for word in random.geometric(0.2, words))

    corpus = [some(int(size)) for size in random.integers(0, 60, 40)]
    texts = [(some(50), -1), (corpus[7], 7), (corpus[7], -1), (" ".join(corpus[3].split()[:9]), 3), ("", -1)]
    novelty = NgramNovelty(longest=6)
    for text, own in texts:
        novelty.add("group", text, own)
    for row, text in enumerate(corpus):
        novelty.look(row, text)
    counts = novelty.counts("group")
    assert counts.shape == (5, 6, 2)
    for place, (text, own) in enumerate(texts):
        for n in range(1, 7):
            assert tuple(counts[place, n - 1]) == plainly(text, corpus, n, own), (place, n)
    assert counts[2, :, 0].sum() == 0  # a copy of D is not novel, the same text as a document of D may be
    assert counts[1, :, 0].sum() > 0


def test_words_are_known_where_another_document_has_them():
    novelty = NgramNovelty()
    novelty.add("real", "alpha beta gamma delta", own=0)
    for row, text in enumerate(["alpha Beta gamma delta", "beta", "delta delta"]):
        novelty.look(row, text)
    assert novelty.known(["alpha", "beta", "gamma", "delta"], own=0).tolist() == [False, True, False, True]
    assert novelty.known(["alpha", "beta"]).tolist() == [True, True]
    assert novelty.counts("nobody").shape == (0, 13, 2)


def test_looking_twice_at_a_document_changes_nothing():
    novelty = NgramNovelty(longest=2)
    novelty.add("real", "one two", own=5)
    for _ in range(2):
        novelty.look(5, "one two")
    assert novelty.counts("real")[0].tolist() == [[2, 2], [1, 1]]


def test_the_memory_of_the_table_is_known_before_it_is_made():
    novelty = NgramNovelty()
    for row in range(30):
        novelty.add("real", "one two three four " * row)
    told = novelty.bytes
    novelty.look(0, "one")
    assert told == novelty.bytes == sum(part.nbytes for part in novelty._ready())
