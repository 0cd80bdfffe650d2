from __future__ import annotations

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from megatron_sbp.base.errors import InputError
from megatron_sbp.tokenization.tokenizer import _BYTE_OF, TextTokenizer, load_tokenizer, save_tokenizer

from .conftest import ROLES, random_texts


@pytest.fixture(scope="session")
def folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, tokenizer)
    return folder


def test_every_text_comes_back(folder, foldoc):
    tokenizer = load_tokenizer(folder)
    texts = [
        *random_texts(500),
        *foldoc[:50],
        "",
        " ",
        "\r\n\t",
        "  two  spaces ",
        "e\u0301",
        "🙂👩‍👩‍👧",
        "<|endoftext|>",
    ]
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert tokenizer.decode(ids) == text
        assert all(0 <= number < tokenizer.vocab_size for number in ids)


def test_roles_are_the_first_ids_and_survive_the_disk(folder):
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.end_of_document, tokenizer.padding, tokenizer.separator) == (0, 1, 2)
    assert tokenizer.vocab_size == 1000
    assert tokenizer.dtype is np.uint16


def test_special_tokens_in_text_are_text(tokenizer):
    ids = tokenizer.encode_batch(["a<|endoftext|><|padding|> <|related|>b"])[0]
    assert not {0, 1, 2} & set(ids)
    assert tokenizer.decode(ids) == "a<|endoftext|><|padding|> <|related|>b"


def test_decoding_leaves_special_and_unknown_ids_out(tokenizer):
    (ids,) = tokenizer.encode_batch(["some text"])
    assert tokenizer.decode([0, *ids[:1], 2, *ids[1:], 1, 0, tokenizer.vocab_size + 5]) == "some text"
    assert tokenizer.decode(np.array(ids, np.uint16)) == "some text"


def test_starts_character_agrees_with_the_bytes(tokenizer):
    """In front of a token that starts a character, everything before it is whole text; elsewhere it is not."""
    starts = tokenizer.starts_character
    assert starts.shape == (tokenizer.vocab_size,)
    assert starts.dtype == bool
    assert (~starts).sum() >= 64  # the 64 continuation bytes, at least
    seen = set()
    for text in random_texts(300):
        (ids,) = tokenizer.encode_batch([text])
        for place in range(1, len(ids)):
            before = tokenizer.decode(ids[:place])
            whole = text.startswith(before)
            assert whole == starts[ids[place]]
            seen.add(whole)
    assert seen == {True, False}


def test_transformers_loads_the_folder(folder):
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert (theirs.eos_token_id, theirs.pad_token_id) == (0, 1)
    assert theirs.eos_token == ROLES["end_of_document"]
    assert set(theirs.all_special_tokens) == set(ROLES.values())
    assert len(theirs) == 1000
    text = "Plain text, 1984 – zwölf."
    assert theirs(text).input_ids == load_tokenizer(folder).encode_batch([text])[0]
    assert theirs("a<|related|>").input_ids[-1] == 2
    assert theirs.decode(theirs(text).input_ids) == text


def test_saving_twice_gives_the_same_bytes(folder, tmp_path):
    save_tokenizer(tmp_path, load_tokenizer(folder))
    for file in folder.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_missing_and_damaged_folders(folder, tmp_path):
    with pytest.raises(InputError, match=r"roles.json.*missing"):
        load_tokenizer(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"tokenizer.json: not a tokenizer"):
        load_tokenizer(tmp_path)


def test_roles_must_be_different_tokens_of_the_vocabulary(tokenizer):
    backend = Tokenizer.from_str(tokenizer.backend.to_str())
    with pytest.raises(InputError, match="two roles"):
        TextTokenizer(backend, {**ROLES, "separator": "<|padding|>"})
    with pytest.raises(InputError, match="not in the vocabulary"):
        TextTokenizer(backend, {**ROLES, "separator": "<|other|>"})


def test_byte_alphabet_is_the_libraries(tokenizer):
    assert set(_BYTE_OF) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(_BYTE_OF.values()) == list(range(256))
    for character, byte in _BYTE_OF.items():
        if byte < 128:
            assert decoders.ByteLevel().decode([character]) == chr(byte)


def test_starts_character_with_byte_fallback():
    vocab = {"a": 0, "é": 1, "<0xC3>": 2, "<0xA9>": 3, "<|endoftext|>": 4, "<p>": 5, "<s>": 6, "<0x41>": 7}
    backend = Tokenizer(models.BPE(vocab, [], byte_fallback=True, unk_token="a"))
    backend.add_special_tokens(["<|endoftext|>", "<p>", "<s>"])
    tokenizer = TextTokenizer(backend, {"end_of_document": "<|endoftext|>", "padding": "<p>", "separator": "<s>"})
    assert tokenizer.starts_character.tolist() == [True, True, True, False, True, True, True, True]


def test_a_vocabulary_beyond_uint16():
    vocab = {f"t{n}": n for n in range(65_501)}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="t0"))
    tokenizer = TextTokenizer(backend, {"end_of_document": "t1", "padding": "t2", "separator": "t3"})
    assert tokenizer.vocab_size == 65_501
    assert tokenizer.dtype is np.int32
