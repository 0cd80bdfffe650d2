"""Every rule with a text that it must drop and one just short of that."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.text_rules import broken, first_rule

RULES = Filter(min_tokens=16, unfinished="drop", max_repetition=0.3, max_copying=0.15)


@pytest.fixture
def judge(tokenizer, texts):
    """The rule for a text; its seed document is the first text, unless another one is given."""

    def rule(text: str, seed: str | None = None, finished: bool = True, rules: Filter = RULES, length: int = 13) -> str:
        tokens, seed_tokens = (np.array(ids) for ids in tokenizer.encode_batch([text, seed or texts[0]]))
        return first_rule({"text": text, "finished": finished}, rules, tokens, seed_tokens, length)

    return rule


@pytest.fixture
def long_text(texts) -> str:
    return max(texts[1:], key=len)


def test_a_good_text_passes(judge, long_text):
    assert judge(long_text) == ""


@pytest.mark.parametrize("mark", ["\ufffd", "\x00", "\x1b", "\x7f", "\x85"])
def test_broken_text(judge, long_text, mark):
    assert broken(mark)
    text = long_text[:100] + mark + long_text[100:]
    assert judge(text) == "broken_text" and judge(text, rules=Filter(broken_text="keep")) == ""


def test_other_scripts_and_white_space_are_whole():
    assert not broken("naïve\tκόσμος\r\n日本語 😀 \u00a0\u200d")


def test_bytes_that_are_no_utf8_become_broken(tokenizer):
    ids = tokenizer.encode_batch(["café 日本"])[0]
    assert not broken(tokenizer.decode(ids))
    assert broken(tokenizer.decode(ids[:-1]))


def test_too_short(judge, tokenizer, long_text):
    ids = tokenizer.encode_batch([long_text])[0]
    texts = {count: tokenizer.decode(ids[:count]) for count in range(10, 24)}
    counted = {len(tokenizer.encode_batch([text])[0]): text for text in texts.values()}
    assert judge(counted[15]) == "too_short"
    assert judge(counted[16]) == ""
    assert judge("") == "too_short"
    assert judge(" \n" * 60) == "too_short"


def test_a_text_of_white_space_alone_is_dropped_by_every_recipe(judge):
    every = Filter(broken_text="keep", min_tokens=0, unfinished="keep", max_repetition=1, max_copying=1)
    assert judge("", rules=every) == judge(" \n\u00a0" * 60, rules=every) == "too_short"
    assert judge("x", finished=False, rules=every) == judge("\x00", rules=every) == ""


def test_unfinished(judge, long_text):
    assert judge(long_text, finished=False) == "unfinished"
    assert judge(long_text, finished=False, rules=Filter(unfinished="keep")) == ""


def test_repetition(judge, long_text):
    words = long_text.split()[:40]
    assert judge(" ".join(words)) == ""
    assert judge(" ".join(words + words[:10])) == ""  # 7 of 47
    assert judge(" ".join(words * 2)) == "repetition"


def test_copying(judge, tokenizer, texts, long_text):
    other = next(text for text in texts if 300 < len(text) < 2000 and text != long_text)
    assert judge(long_text, seed=long_text) == "copying"
    assert judge(long_text, seed=other) == ""
    # A fifth of the text's shingles from its seed document, and a tenth.
    ids, seed = tokenizer.encode_batch([long_text, other])
    for part, rule in ((5, "copying"), (10, "")):
        own = 200
        taken = (own + 12 * 2) // (part - 1) + 12
        text = tokenizer.decode(ids[:own] + seed[:taken])
        assert judge(text, seed=other) == rule, part
    # Shorter shingles find more.
    assert judge(long_text, seed=other, length=2) == "copying"


def test_a_short_seed_document_inside_a_long_text_is_a_copy(judge, tokenizer, texts, long_text):
    """The share is of the shorter one's shingles, as that of the pairs is."""
    short = tokenizer.decode(tokenizer.encode_batch([texts[0]])[0][:20])
    text = f"{long_text}\n{short}\n"
    assert judge(text, seed=short) == "copying" and judge(text, seed=f"{short} {texts[5]} {texts[6]}") == ""


def test_the_first_rule_counts(judge):
    assert judge("\ufffd", finished=False) == "broken_text"
    assert judge("short", finished=False) == "too_short"


def test_real_text_is_kept(judge, texts):
    """What the rules would drop of 400 entries of FOLDOC, each with another entry as its seed."""
    found = [judge(text, seed=texts[number - 1]) for number, text in enumerate(texts)]
    assert sum(map(bool, found)) <= 0.06 * len(texts), {rule: found.count(rule) for rule in found}


LOOPS = RULES.model_copy(update={"max_token_repetition": 0.3, "max_periodic_tail": 0.1})
CHINESE = (
    "春天的早晨,老人沿着河边慢慢走。水面上有薄雾,远处传来钟声。他想起年轻时在山里教书的日子,"
    "那时学生不多,却个个认真。如今他们有的成了医生,有的去了很远的城市。风吹过柳树,像有人轻声念诗。"
)


@pytest.mark.parametrize(
    ("text", "rule"),
    [("abcdefg" * 60, "token_repetition"), (CHINESE + "像有人轻声念诗。" * 4, "periodic_tail"), (CHINESE, "")],
)
def test_loops_without_white_space_need_the_token_rules(judge, text, rule):
    assert judge(text) == "", "words see nothing"
    assert judge(text, rules=LOOPS) == rule


def test_a_loop_at_the_end_needs_the_token_rules(judge, long_text):
    words = long_text.split()
    looping = long_text + " " + " ".join(words[-3:] * (1 + len(words) // 12))
    assert judge(looping) == "" and judge(long_text, rules=LOOPS) == ""
    assert judge(looping, rules=LOOPS) == "periodic_tail"
