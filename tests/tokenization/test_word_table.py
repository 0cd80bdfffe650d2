"""Words end where GPT-2's rule ends them."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.tokenization.word_table import word_end
from megatron_sbp.tokenization.words import classes


def cut(text: str, single_digits: bool) -> list[str]:
    characters, begin, words = np.array([ord(one) for one in text], np.uint32), 0, []
    while begin < len(text):
        end = word_end(characters, begin, len(text), classes(), single_digits)
        words.append(text[begin:end])
        begin = end
    return words


@pytest.mark.parametrize(
    ("text", "single", "whole"),
    [
        ("they'll say 'so'", ["they", "'ll", " say", " '", "so", "'"], None),
        ("in 2026 or", ["in", " ", "2", "0", "2", "6", " or"], ["in", " 2026", " or"]),
        ("a   b\n\n5\n ", ["a", "  ", " b", "\n\n", "5", "\n "], ["a", "  ", " b", "\n", "\n", "5", "\n "]),
        ("'sea 're", ["'s", "ea", " '", "re"], None),
    ],
)
def test_words(text, single, whole):
    assert cut(text, True) == single
    assert cut(text, False) == (whole or single)
