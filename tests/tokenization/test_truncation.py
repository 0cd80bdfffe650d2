from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.tokenization.truncation import cut_tokens

from .conftest import random_texts


@pytest.mark.parametrize("cut", ["head", "tail"])
def test_cuts_keep_whole_characters_and_as_many_as_fit(tokenizer, cut):
    starts = tokenizer.starts_character
    shortened = 0
    for text in random_texts(150, seed=2):
        tokens = np.array(tokenizer.encode_batch([text])[0], np.uint16)
        for limit in range(1, tokens.size + 2):
            kept = cut_tokens(tokens, limit, starts, cut)
            assert kept.size <= limit
            assert kept.size >= min(tokens.size, limit) - 3  # a character has at most 4 bytes
            decoded = tokenizer.decode(kept)
            assert text.startswith(decoded) if cut == "tail" else text.endswith(decoded)
            shortened += kept.size < min(tokens.size, limit)
    assert shortened > 100


def test_short_documents_are_left_alone(tokenizer):
    tokens = np.array([5, 6, 7])
    for limit in (3, 4):
        assert cut_tokens(tokens, limit, tokenizer.starts_character) is tokens


def test_a_character_longer_than_the_limit_leaves_nothing(tokenizer):
    tokens = np.array(tokenizer.encode_batch(["\U0001f9ff"])[0])
    assert tokens.size == 4
    assert cut_tokens(tokens, 3, tokenizer.starts_character).size == 0
    assert cut_tokens(tokens, 3, tokenizer.starts_character, "head").size == 0
