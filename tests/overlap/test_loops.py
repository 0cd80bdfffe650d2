"""Loops are found in tokens, wherever they are and whatever the script; a text that is fine is none."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.overlap.loops import RUN, periodic_tail, repeated_token_share
from megatron_sbp.overlap.repetition import repeated_share

CHINESE = (
    "春天的早晨,老人沿着河边慢慢走。水面上有薄雾,远处传来钟声。他想起年轻时在山里教书的日子,"
    "那时学生不多,却个个认真。如今他们有的成了医生,有的去了很远的城市。风吹过柳树,像有人轻声念诗。"
)


def slowly(tokens: list[int]) -> float:
    """The same by trying every period."""
    most, length = 0, len(tokens)
    for period in range(1, length):
        run = 0
        while run + period < length and tokens[-1 - run] == tokens[-1 - run - period]:
            run += 1
        most = max(most, run if run >= period else 0)
    return most / length if length else 0.0


def characters(text: str) -> np.ndarray:
    return np.array([ord(character) for character in text], np.int64)


def test_periods_are_found_as_by_trying_all_of_them():
    random = np.random.default_rng(1)
    for _ in range(600):
        tokens = random.integers(0, 3, random.integers(0, 40))
        assert periodic_tail(tokens) == pytest.approx(slowly(tokens.tolist()))


def test_a_loop_without_white_space_is_seen_in_tokens_alone():
    text = "abcde" * 100
    assert repeated_share(text) == 0.0
    assert repeated_token_share(characters(text)) > 0.98 and periodic_tail(characters(text)) == 0.99


def test_a_loop_in_the_last_quarter_is_seen_by_the_tail():
    """One in twenty tokens of the tail is the loop's first round; the share of repeated runs stays small."""
    tokens = np.concatenate([np.arange(300), np.tile(np.arange(1000, 1005), 20)])
    words = " ".join(map(str, tokens.tolist()))
    assert repeated_share(words) < 0.3
    assert periodic_tail(tokens) == 95 / 400
    assert repeated_token_share(tokens) == pytest.approx((100 - RUN + 1 - 5) / (400 - RUN + 1))


@pytest.mark.parametrize(("text", "most"), [(CHINESE, 0.0), (CHINESE + "!!", 0.02), (CHINESE * 2, 0.5)])
def test_chinese_text_that_is_fine_is_no_loop(text, most):
    assert periodic_tail(characters(text)) <= most
    assert (repeated_token_share(characters(text)) == 0.0) == (most < 0.5)


def test_a_sentence_said_twice_is_no_loop():
    sentence, other = np.arange(20), np.arange(100, 160)
    assert periodic_tail(np.concatenate([sentence, other, sentence])) == 0.0
    assert periodic_tail(np.concatenate([other, sentence, sentence])) == 0.2


@pytest.mark.parametrize("length", [0, 1, RUN - 1])
def test_a_short_text_has_no_runs(length):
    assert repeated_token_share(np.arange(length)) == 0.0 and periodic_tail(np.arange(length)) == 0.0
