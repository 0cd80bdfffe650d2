"""Items that occur in texts, against plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_sbp.overlap.contamination import ItemIndex


def grams(words: list[str], width: int) -> set[tuple[str, ...]]:
    return {tuple(words[place : place + width]) for place in range(len(words) - width + 1)}


TEXTS = st.lists(st.lists(st.sampled_from("ab"), max_size=20), max_size=6)


@settings(max_examples=60, deadline=None)
@given(items=TEXTS, texts=TEXTS)
def test_what_plain_python_finds(items, texts):
    index = ItemIndex({"items": [" ".join(words) for words in items]})
    long = [words for words in items if len(words) >= 8]
    assert len(index) == len(long) and index.too_short == {"items": len(items) - len(long)}
    for text in texts:
        expected = []
        for row, words in enumerate(long):
            width = min(13, len(words))
            if grams(words, width) & grams(text, width):
                expected.append(row)
        assert index.found(" ".join(text)).tolist() == expected


QUESTION = "The capital of the country Norway is Oslo"


def test_case_white_space_and_punctuation_do_not_hide_an_item():
    long = [f"word{number}" for number in range(20)]
    index = ItemIndex({"questions": [QUESTION, "too short"], "test documents": [" ".join(long)]})
    assert index.groups == {"questions": range(0, 1), "test documents": range(1, 2)}
    assert index.too_short == {"questions": 1, "test documents": 0}
    assert index.found(f"And «{QUESTION.upper()}».\nYes.").tolist() == [0]
    assert index.found("The capital of the country Norway is Bergen").tolist() == []
    assert index.found("x " + " ".join(long[3:16])).tolist() == [1] and not len(index.found(" ".join(long[3:15])))
    both = index.found(f"{QUESTION}, {' '.join(long)}")
    assert both.tolist() == [0, 1]
    assert index.counts(np.array([True, False])) == {"questions": 1, "test documents": 0}


def test_an_item_of_several_forms_is_one_item_that_any_of_them_finds():
    """A question of 10 words that stands alone: with its answer, it is one of 13 words, which only its like would."""
    asked = "which river runs through the old capital of the north"
    framed = f"Question: {asked} Answer: Elbe"
    index = ItemIndex({"one form": [framed], "two": [(framed, asked), ("short", "also short")]})
    assert index.groups == {"one form": range(0, 1), "two": range(1, 2)}
    assert index.too_short == {"one form": 0, "two": 1}
    assert index.found(f"So, {asked}? Nobody knew.").tolist() == [1]
    assert index.found(f"{framed}. {asked}").tolist() == [0, 1]
    assert not len(index.found("which river runs through the old capital of the south"))
    # What forms have in common is held once.
    long = " ".join(f"word{number}" for number in range(40))
    assert ItemIndex({"a": [(long, long)]}).bytes == ItemIndex({"a": [long]}).bytes


def test_nothing_to_look_for_is_found_nowhere():
    assert ItemIndex({}).found(QUESTION).tolist() == [] == ItemIndex({"a": [QUESTION]}).found("").tolist()
