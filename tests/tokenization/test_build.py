"""The tokenizer that the settings describe: trained or adopted, and what is refused."""

from __future__ import annotations

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Tokenizer
from megatron_sbp.tokenization.bpe import MIN_VOCAB_SIZE
from megatron_sbp.tokenization.build import build_tokenizer
from megatron_sbp.tokenization.tokenizer import save_tokenizer


@pytest.fixture
def texts(foldoc) -> list[str]:
    return foldoc[:40]


def test_trained_on_all_texts(texts, capsys):
    found = build_tokenizer(Tokenizer(vocab_size=400), texts)
    assert found.vocab_size == 400 and "byte-level BPE, 400 entries" in capsys.readouterr().err
    assert found.backend.to_str() == build_tokenizer(Tokenizer(vocab_size=400), texts).backend.to_str()
    assert found.backend.to_str() != build_tokenizer(Tokenizer(vocab_size=400), texts[:20]).backend.to_str()


def test_fewer_merges_than_asked_for_is_said(capsys):
    found = build_tokenizer(Tokenizer(vocab_size=5000), ["ab ab ab"])
    assert found.vocab_size < 300
    assert "tokenizer.vocab_size is 5,000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"separator": "<|endoftext|>"}, "tokenizer.separator"),
        ({"padding": ""}, "tokenizer.padding"),
        ({"vocab_size": MIN_VOCAB_SIZE - 1}, "tokenizer.vocab_size"),
    ],
)
def test_what_cannot_be_is_refused_by_key(texts, settings, key):
    with pytest.raises(InputError) as caught:
        build_tokenizer(Tokenizer(**settings), texts)
    assert caught.value.key == key


def test_an_adopted_one_needs_no_documents(texts, tmp_path, capsys):
    made = build_tokenizer(Tokenizer(vocab_size=400), texts)
    save_tokenizer(tmp_path / "folder", made)
    found = build_tokenizer(Tokenizer(path="folder"), [], folder=tmp_path / "folder")
    assert found.vocab_size == 400 and found.roles == made.roles
    assert "tokenizer: folder, 400 entries" in capsys.readouterr().err
