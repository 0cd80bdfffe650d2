"""Texts that are tokenized differently again: what is known of a row, and the counts."""

from __future__ import annotations

import numpy as np

from megatron_sbp.synthesis.retokenized import DIFFERENT, SAME, UNKNOWN, RetokenizedCounts, compare_ids
from megatron_sbp.tokenization.written_ids import pack_ids


def spelled(text: str, tokenizer) -> np.ndarray:
    """The text character by character, as no tokenizer gives it."""
    return np.array([number for character in text for number in tokenizer.encode_batch([character])[0]])


def test_what_is_known_of_a_row(tokenizer):
    text = "one two three"
    again = tokenizer.encode_batch([text])[0]
    other = spelled(text, tokenizer)

    def told(**ids) -> tuple[int, int]:
        return compare_ids({"text": text, **ids}, again, tokenizer)

    assert told() == (UNKNOWN, len(again))
    assert told(token_ids=pack_ids(np.array(again))) == (SAME, len(again))
    assert told(token_ids=pack_ids(other)) == (DIFFERENT, len(other)) and len(other) > len(again)
    assert told(token_ids=pack_ids(spelled("one", tokenizer))) == (UNKNOWN, len(again))
    assert told(token_ids=[1, 2]) == (UNKNOWN, len(again))


def test_counts_of_shards_add_up():
    total = RetokenizedCounts()
    for states in ([(SAME, True), (DIFFERENT, False)], [(DIFFERENT, True), (UNKNOWN, True), (SAME, True)]):
        part = RetokenizedCounts()
        for state, kept in states:
            part.add(state, kept)
        total.join(part.__dict__)
    assert total.summary() == {
        "documents": 4, "differing": 2, "kept": 3, "kept_differing": 1, "share": 0.5, "kept_share": 1 / 3,
    }  # fmt: skip
    assert RetokenizedCounts().summary()["share"] == 0
