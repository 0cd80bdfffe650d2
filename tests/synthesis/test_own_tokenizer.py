"""A tokenizer that is not the checkpoint's is refused, whatever its size; both are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.synthesis.own_tokenizer import check_own_tokenizer
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.tokenizer import TextTokenizer, load_tokenizer, save_tokenizer


@pytest.fixture(scope="module")
def another(tokenizer, texts) -> TextTokenizer:
    """As many tokens, other ones."""
    found = train_bpe(texts[200:], 600, tokenizer.roles)
    assert found.vocab_size == tokenizer.vocab_size
    return found


@pytest.fixture
def checkpoint(tokenizer, tmp_path) -> Path:
    about = {"vocab_size": tokenizer.vocab_size, "digest": tokenizer.vocabulary_digest}
    files.write_json(tmp_path / "config.json", {"vocab_size": tokenizer.vocab_size})
    files.write_json(tmp_path / "provenance.json", {"tokenizer": about})
    save_tokenizer(tmp_path, tokenizer)
    return tmp_path


def test_its_own_passes(checkpoint, tokenizer, tmp_path):
    check_own_tokenizer(checkpoint, tokenizer)
    check_own_tokenizer(checkpoint, load_tokenizer(checkpoint))
    (checkpoint / "provenance.json").unlink()
    check_own_tokenizer(checkpoint, load_tokenizer(checkpoint))


@pytest.mark.parametrize("size", [600, 400])
def test_another_of_the_same_size_or_smaller_is_refused(checkpoint, tokenizer, another, texts, size):
    other = another if size == 600 else train_bpe(texts, size, tokenizer.roles)
    digests = tokenizer.vocabulary_digest[:12], other.vocabulary_digest[:12]
    told = rf"trained with a tokenizer of 600 tokens \(digest {digests[0]}\).*has {size} \(digest {digests[1]}\)"
    with pytest.raises(InputError, match=told) as caught:
        check_own_tokenizer(checkpoint, other)
    assert caught.value.file == checkpoint / "provenance.json"
    save_tokenizer(checkpoint, other)  # in its place, beside weights that say what they were trained with
    with pytest.raises(InputError, match=told):
        check_own_tokenizer(checkpoint, load_tokenizer(checkpoint))


def test_without_provenance_the_tokenizer_beside_the_weights_counts(checkpoint, another):
    files.write_json(checkpoint / "provenance.json", {"weights_sha256": "ab"})  # of an earlier version
    with pytest.raises(InputError, match="trained with a tokenizer of 600 tokens") as caught:
        check_own_tokenizer(checkpoint, another)
    assert caught.value.file == checkpoint / "tokenizer.json"
    (checkpoint / "roles.json").unlink()
    check_own_tokenizer(checkpoint, another)  # nothing says what it was trained with


def test_a_larger_one_is_refused_by_its_size(checkpoint, tokenizer):
    files.write_json(checkpoint / "config.json", {"vocab_size": 599})
    with pytest.raises(InputError, match="has 600 tokens, the model 599"):
        check_own_tokenizer(checkpoint, tokenizer)
