"""Ids word by word are those of `tokenizers`, whatever the text."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from megatron_sbp.tokenization import tokenizer as tokenizer_module
from megatron_sbp.tokenization import word_table
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.indexed import flatten
from megatron_sbp.tokenization.tokenizer import TextTokenizer
from megatron_sbp.tokenization.words import Words, classes, suits

ROLES = {"end_of_document": "<|end|>", "padding": "<|pad|>", "separator": "<|sep|>"}
TEXT = "It's a rainy day; they'll say we've 12 cats and 3.5 dogs.\n\n  Été à Köln, 東京 and Ωμέγα:   don't!\t" * 3
PIECES = [
    *"ab Z\n\t'sdtmrevl.-!9é中½Ⅷ\u00a0\u2003\u3000\u200b\u0301\u180e\ufffd\u0378😀",
    "  ",
    " '",
    "<|end|>",
    "'re",
    "\r\n",
]


@pytest.fixture(scope="module")
def trained() -> TextTokenizer:
    return train_bpe([TEXT], 340, ROLES)


def as_gpt2(trained: TextTokenizer, **changed: object) -> Tokenizer:
    """The same vocabulary, numbers cut by GPT-2's rule alone."""
    described = json.loads(trained.backend.to_str())
    described["pre_tokenizer"] = {**described["pre_tokenizer"]["pretokenizers"][1], **changed}
    backend = Tokenizer.from_str(json.dumps(described))
    backend.encode_special_tokens = True
    return backend


def made_up(count: int) -> list[str]:
    random = np.random.default_rng(1)
    return ["".join(random.choice(PIECES, random.integers(0, 14))) for _ in range(count)]


def assert_same(backend: Tokenizer, words: Words, texts: list[str], closing: int | None = 0) -> None:
    theirs = [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
    for mine, wanted in zip(words.encode(texts, closing, np.uint16), flatten(theirs, closing, np.uint16), strict=True):
        assert mine.dtype == wanted.dtype
        np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("single_digits", [True, False])
def test_made_up_texts(trained, single_digits):
    backend = trained.backend if single_digits else as_gpt2(trained)
    words, texts = Words(backend), [TEXT, *made_up(4000), "", "x" * 300, " " * 50]
    assert_same(backend, words, texts)
    assert_same(backend, words, texts, closing=None)  # words are known now


@pytest.mark.slow
@pytest.mark.parametrize("step", [31, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_every_character_whose_class_is_sure(trained, step):
    numbers = np.flatnonzero(classes() != word_table.UNSURE).tolist()
    texts = [f"a{chr(number)} {chr(number)}b" for number in [*numbers[:3000], *numbers[3000::step], 0x10FFFF]]
    assert_same(trained.backend, Words(trained.backend), texts)
    assert_same(as_gpt2(trained), Words(as_gpt2(trained)), texts)


def test_a_full_table_forgets_nothing_and_learns_nothing(trained):
    words = Words(trained.backend)
    words._known = word_table.empty(16)
    for _ in range(2):
        assert_same(trained.backend, words, [TEXT, *made_up(300)])
    assert words._known[-1] == 16


def test_texts_are_taken_in_slices(trained, monkeypatch):
    monkeypatch.setattr("megatron_sbp.tokenization.words._SLICE_CHARACTERS", 100)
    assert_same(trained.backend, Words(trained.backend), [TEXT, *made_up(100), TEXT])


def test_what_suits(trained):
    assert suits(trained.backend) and suits(as_gpt2(trained))
    assert not suits(as_gpt2(trained, add_prefix_space=True))
    assert not suits(as_gpt2(trained, use_regex=False))
    described = json.loads(trained.backend.to_str())
    for changed in (
        {"normalizer": {"type": "NFC"}},
        {"model": {**described["model"], "dropout": 0.1}},
        {"pre_tokenizer": None},
        {"added_tokens": [{**described["added_tokens"][0], "special": False}]},
    ):
        backend = Tokenizer.from_str(json.dumps({**described, **changed}))
        backend.encode_special_tokens = True
        assert not suits(backend), changed
    assert not suits(Tokenizer.from_str(trained.backend.to_str())), "special tokens in text would be found"


def test_a_tokenizer_takes_this_way_for_much_text(trained, monkeypatch):
    fresh = TextTokenizer(trained.backend, ROLES)
    expected = flatten(fresh.encode_batch([TEXT, "a"]), 0, np.int32)
    before = fresh.encode_flat([TEXT, "a"], 0, np.int32)
    assert fresh._words is None
    monkeypatch.setattr(tokenizer_module, "_MUCH_TEXT", 10)
    after = fresh.encode_flat([TEXT, "a"], 0, np.int32)
    assert fresh._words
    for one in (before, after):
        assert all(
            np.array_equal(mine, its) and mine.dtype == its.dtype for mine, its in zip(one, expected, strict=True)
        )
    other = TextTokenizer(as_gpt2(trained, add_prefix_space=True), ROLES)
    np.testing.assert_array_equal(other.encode_flat([TEXT], 0, np.int32)[0][:-1], other.encode_batch([TEXT])[0])
    assert other._words is False
