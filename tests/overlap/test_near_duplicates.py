"""MinHash against exact Jaccard similarity of word 5-grams."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.overlap.near_duplicates import near_duplicates, signatures

FOLDOC = Path(__file__).resolve().parents[2] / "examples" / "quickstart" / "foldoc.jsonl.zst"


def jaccard(first: str, second: str, words: int = 5) -> float:
    sets = []
    for text in (first, second):
        found = text.lower().split()
        width = min(words, len(found))
        sets.append({tuple(found[place : place + width]) for place in range(len(found) - width + 1)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rows = files.read_jsonl_zst(FOLDOC)
    return [text for text in (next(rows)["text"] for _ in range(300)) if len(text.split()) > 60]


def changed(text: str, words: int, random: np.random.Generator) -> str:
    """The text with that many words replaced, at random places."""
    found = text.split()
    for place in random.choice(len(found), words, replace=False):
        found[place] = f"other{random.integers(1 << 30)}"
    return " ".join(found)


def test_signatures_estimate_jaccard(texts):
    random = np.random.default_rng(1)
    pairs = [(text, changed(text, int(random.integers(0, 12)), random)) for text in texts]
    exact = np.array([jaccard(*pair) for pair in pairs])
    first, second = signatures(one for one, _ in pairs), signatures(two for _, two in pairs)
    assert first.dtype == np.uint32 and first.shape == (len(texts), 128)
    estimated = (first == second).mean(axis=1)
    assert exact.min() < 0.3 and exact.max() == 1
    error = estimated - exact
    assert np.abs(error).max() < 5 * 0.5 / np.sqrt(128) and abs(error.mean()) < 0.02
    assert (estimated[exact == 1] == 1).all()


def test_near_duplicates_against_all_pairs(texts):
    """Texts and changed copies, shuffled: what is found is what all pairs of signatures give, and true by Jaccard."""
    random = np.random.default_rng(2)
    every = [changed(text, count, random) for text in texts[:60] for count in (0, 1, 4, 15)]
    every = [every[place] for place in random.permutation(len(every))]
    signed = signatures(every)
    found = near_duplicates(signed, 0.7)
    slow = np.zeros(len(every), bool)
    for number in range(len(every)):
        earlier = signed[:number][~slow[:number]]
        slow[number] = bool(len(earlier)) and ((earlier == signed[number]).mean(axis=1) >= 0.7).any()
    assert (found == slow).all()
    assert 60 < found.sum() < 180
    for number in np.flatnonzero(found):
        assert max(jaccard(every[number], every[other]) for other in range(number)) > 0.5
    clear = [number for number in np.flatnonzero(~found) for other in range(number) if not found[other]
             and jaccard(every[number], every[other]) > 0.85]  # fmt: skip
    assert not clear


def test_unrelated_texts_are_none(texts):
    assert not near_duplicates(signatures(texts), 0.7).any()
    assert max(jaccard(*pair) for pair in itertools.combinations(texts[:40], 2)) < 0.3


def test_white_space_and_case_do_not_count_words_do():
    signed = signatures(["The  quick brown fox jumps high", "the quick\nbrown fox JUMPS high", "the quick brown fox"])
    assert near_duplicates(signed, 0.9).tolist() == [False, True, False]


def test_none_one_and_empty_texts():
    assert near_duplicates(signatures([]), 0.7).tolist() == []
    assert signatures([]).shape == (0, 128)
    assert near_duplicates(signatures(["a"]), 0.7).tolist() == [False]
    assert near_duplicates(signatures(["", "a b", ""]), 0.7).tolist() == [False, False, True]


def test_signatures_stay_the_same():
    """They are stored: other values mean another version of the stages that write them."""
    signed = signatures(["the quick brown fox jumps over the lazy dog"])
    assert signed[0, :3].tolist() == [
        1771583435,
        69763638,
        816470555,
    ]
