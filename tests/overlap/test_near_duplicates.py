"""MinHash against exact Jaccard similarity of word 5-grams."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import megatron_sbp.overlap.near_duplicates as near_duplicates_module
import megatron_sbp.overlap.shared_keys as shared_keys_module
from megatron_sbp.base import files
from megatron_sbp.overlap.near_duplicates import BANDS, band_keys, near_duplicates, repeats_in_band, signatures

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
        slow[number] = ((signed[:number] == signed[number]).mean(axis=1) >= 0.7).any()
    assert (found == slow).all()
    assert 60 < found.sum() < 180
    for number in np.flatnonzero(found):
        assert max(jaccard(every[number], every[other]) for other in range(number)) > 0.5
    clear = [number for number in np.flatnonzero(~found) for other in range(number)
             if jaccard(every[number], every[other]) > 0.85]  # fmt: skip
    assert not clear


def test_bands_by_themselves_in_any_cut(texts, monkeypatch):
    """Parts of keys, small passes, and small pieces of signatures change nothing, except for what 256 is there for."""
    random = np.random.default_rng(3)
    every = [changed(text, int(random.integers(0, 8)), random) for text in [*texts[:40]] * 4]
    signed = signatures(every)
    keys = band_keys(signed)
    assert keys.shape == (BANDS, len(every))
    whole = near_duplicates(signed, 0.7)
    monkeypatch.setattr(near_duplicates_module, "SIGNATURES_AT_ONCE", 7)
    monkeypatch.setattr(shared_keys_module.shared_keys, "__defaults__", (30,))
    found = np.zeros(len(every), bool)
    for band in reversed(keys):
        found[repeats_in_band([band[:50], band[50:50], band[50:]], lambda rows: signed[rows], 0.7)] = True
    assert 40 < found.sum() < 160 and (found == whole).all()


def test_a_large_group_is_compared_with_its_first_ones(monkeypatch):
    monkeypatch.setattr(near_duplicates_module, "COMPARED", 2)
    signed = np.zeros((6, 128), np.uint32)
    signed[:, 4:] = np.array([1, 2, 3, 3, 1, 2])[
        :, None
    ]  # all agree in the first band; rows 4 and 5 repeat the first two
    for at_once in (2, 100):
        monkeypatch.setattr(near_duplicates_module, "SIGNATURES_AT_ONCE", at_once)
        assert repeats_in_band([band_keys(signed)[0]], lambda rows: signed[rows], 0.9).tolist() == [4, 5]


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
