"""Distinct-n, self-BLEU and the blocks they are measured on, of words whose figures are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from megatron_sbp.evaluation import diversity
from megatron_sbp.evaluation.confidence import mean_interval


def words(text: str) -> list[str]:
    return text.split()


def test_words_are_what_white_space_separates_in_lower_case():
    assert diversity.words_of(" The\u00a0Cat, the\n\tCAT ") == ["the", "cat,", "the", "cat"]
    assert diversity.words_of("") == []


def test_blocks_have_equally_many_words_and_lose_none():
    texts = [[f"{text}-{word}" for word in range(37)] for text in range(30)]
    blocks, size = diversity.block_shape([30 * 37, 2000])
    assert (blocks, size) == (20, 55)
    cut = diversity.blocks_of(texts, blocks, size)
    assert [sum(len(words) for _, words in block) for block in cut] == [size] * blocks
    assert [word for block in cut for _, words in block for word in words] == list(itertools.chain(*texts))[
        : blocks * size
    ]
    assert diversity.block_shape([99, 5000]) == diversity.block_shape([]) == (0, 0)


@pytest.mark.parametrize(
    ("counts", "shape"),
    [([100], (2, 50)), ([150, 100], (2, 50)), ([999], (19, 52)), ([5000], (20, 250)), ([5000, 0], (0, 0))],
)
def test_the_group_with_the_fewest_words_decides_on_the_blocks(counts, shape):
    assert diversity.block_shape(counts) == shape


def test_a_piece_names_its_document_and_crosses_none():
    texts = [words("a b c"), [], words("d e f g"), words("h")]
    assert diversity.blocks_of(texts, 2, 4) == [[(0, ["a", "b", "c"]), (2, ["d"])], [(2, ["e", "f", "g"]), (3, ["h"])]]
    assert diversity.blocks_of(texts, 1, 2) == [[(0, ["a", "b"])]]
    assert texts[0] == ["a", "b", "c"], "the texts stay as they are"


def test_ngrams_are_counted_within_a_piece():
    block = [(0, words("a b a b")), (1, words("b a"))]
    assert diversity.distinct(block, 1) == pytest.approx(2 / 6)
    assert diversity.distinct(block, 2) == pytest.approx(2 / 4)  # ab ba ab, ba; not "b b" over the border
    assert diversity.distinct(block, 3) == 1.0
    assert diversity.distinct(block, 5) == diversity.distinct([], 1) == 0.0


def test_the_interval_is_over_blocks():
    blocks = [[(0, ["a"] * size)] for size in (2, 3, 7)]
    found = diversity.over_blocks(blocks, lambda block: float(len(block[0][1])))
    assert (found["low"], found["high"]) == pytest.approx(mean_interval([2.0, 3.0, 7.0])) and found["value"] == 4
    assert diversity.over_blocks(blocks[:1], lambda block: 1.0) == {"value": 1.0, "low": None, "high": None}
    assert diversity.over_blocks([], lambda block: 1.0)["value"] is None


def test_self_bleu_of_two_texts_is_the_mean_of_four_precisions():
    """Of the n-grams of each text the other has 4 of 6 words, 3 of 5 pairs, 2 of 4 triples, and 1 of 3 fours."""
    expected = np.exp(np.log([4 / 6, 3 / 5, 2 / 4, 1 / 3]).mean())
    assert diversity.self_bleu([words("a b c d e f"), words("a b c d x y")]) == pytest.approx([expected] * 2)


def test_every_text_is_compared_with_all_the_others():
    same, other = words("one two three four five six"), words("seven eight nine ten eleven twelve")
    first, second, third = diversity.self_bleu([same, other, [], same])
    assert first == third == pytest.approx(1.0) and second < 0.05


@pytest.mark.parametrize("texts", [[], [["alone"]], [["alone"], [], []]])
def test_one_text_has_no_self_bleu(texts):
    assert diversity.self_bleu(texts) == []
