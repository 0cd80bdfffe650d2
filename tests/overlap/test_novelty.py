"""How much of a text occurs in a corpus."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from megatron_sbp.overlap.novelty import Overlap, share_of


def measure(overlap: Overlap, texts: list[str]) -> dict[str, dict[str, float | None]]:
    for text in texts:
        overlap.look(tokens(text), text)
    counted = overlap.counts()
    return {group: {name: share_of(counts) for name, counts in part.items()} for group, part in counted.items()}


def tokens(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def test_word_ngrams_ignore_case_and_need_three_words():
    overlap = Overlap(13)
    overlap.add("three", tokens(""), "A b  c D a B C")
    overlap.add("two", tokens(""), "two words")
    overlap.look(tokens(""), "a b\nC")
    counted = {group: found["novel_ngrams"].tolist() for group, found in overlap.counts().items()}
    assert counted == {"three": [[3, 4]], "two": [[0, 0]]}  # b c d, c d a, d a b are new; a b c counts once


def test_copies_are_found_wherever_they_stand_and_new_text_is_not():
    corpus = ["the quick brown fox jumps over the lazy dog", "colorless green ideas sleep furiously tonight"]
    overlap = Overlap(13)
    overlap.add("copy", tokens(corpus[1][4:40]), corpus[1])
    overlap.add("new", tokens("nothing of this was ever written before here"), "nothing of this was ever written")
    half = "green ideas sleep 0123456789 abc def ghi"
    overlap.add("half", tokens(half), half)
    found = measure(overlap, corpus)
    assert found["copy"] == {"corpus_copying": 1.0, "novel_ngrams": 0.0}
    assert found["new"] == {"corpus_copying": 0.0, "novel_ngrams": 1.0}
    # "green ideas sleep " has 18 letters: 6 of the 28 shingles of 13 occur in the corpus, and 1 of 5 word 3-grams.
    assert found["half"]["corpus_copying"] == pytest.approx(6 / (len(half) - 12))
    assert found["half"]["novel_ngrams"] == pytest.approx(4 / 5)


def test_order_and_number_of_corpus_documents_do_not_matter():
    texts = ["one two three four five six", "seven eight nine ten eleven twelve"]
    results = []
    for order in (texts, texts[::-1], texts * 3):
        overlap = Overlap(5)
        overlap.add("group", tokens("three four five and more"), "three four five and more")
        results.append(measure(overlap, order))
    assert results[0] == results[1] == results[2]
    assert 0 < results[0]["group"]["corpus_copying"] < 1


def test_groups_without_anything_are_none_and_an_empty_corpus_holds_nothing():
    overlap = Overlap(13)
    overlap.add("short", tokens(""), "one two")
    overlap.add("text", tokens("some words that are long enough"), "some words that are long enough")
    found = measure(overlap, [])
    assert found["short"] == {"corpus_copying": None, "novel_ngrams": None}
    assert found["text"] == {"corpus_copying": 0.0, "novel_ngrams": 1.0}


def test_many_texts_take_no_more_memory_than_their_hashes():
    """The recipes at the paper's scale add 30,000 texts, and every process that reads D gets them."""
    random = np.random.default_rng(1)
    texts = [" ".join(f"w{word}" for word in random.integers(0, 5000, 400)) for _ in range(100)]
    Overlap(13).add("compiled", tokens("long enough for all"), "long enough for all")
    tracemalloc.start()
    overlap = Overlap(13)
    for text in texts:
        overlap.add("group", tokens(text)[:500], text)
    overlap.look(tokens(texts[0]), texts[0])
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 2.5 * overlap.bytes
    assert len(pickle.dumps(overlap)) < 1.5 * overlap.bytes
    assert overlap.bytes == 17 * 100 * (488 + 398)
