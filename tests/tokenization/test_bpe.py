from __future__ import annotations

from megatron_sbp.tokenization.bpe import MIN_VOCAB_SIZE, train_bpe

from .conftest import ROLES


def test_the_same_texts_give_the_same_tokenizer(foldoc):
    first, second = (train_bpe(iter(foldoc), 600, ROLES).backend.to_str() for _ in range(2))
    assert first == second


def test_a_tiny_corpus_gives_fewer_entries_and_still_writes_everything():
    tokenizer = train_bpe(["aaaa"], 5000, ROLES)
    assert MIN_VOCAB_SIZE <= tokenizer.vocab_size < 300
    text = "anything: é🙂"
    assert tokenizer.decode(tokenizer.encode_batch([text])[0]) == text
    assert train_bpe([], MIN_VOCAB_SIZE, ROLES).vocab_size == MIN_VOCAB_SIZE


def test_train_characters_limits_what_is_read(foldoc):
    part = train_bpe(foldoc, 600, ROLES, train_characters=5000).backend.to_str()
    text, left = [], 5000
    for document in foldoc:
        text.append(document[:left])
        left -= len(text[-1])
        if not left:
            break
    assert part == train_bpe(text, 600, ROLES).backend.to_str()
    assert part != train_bpe(foldoc, 600, ROLES).backend.to_str()


def test_digits_are_single_tokens(tokenizer):
    ids = tokenizer.encode_batch(["in 1984."])[0]
    assert [tokenizer.decode([number]) for number in ids[-5:]] == ["1", "9", "8", "4", "."]


def test_it_compresses_english(foldoc, tokenizer):
    characters = sum(map(len, foldoc))
    tokens = sum(map(len, tokenizer.encode_batch(foldoc)))
    assert characters / tokens > 2.3
