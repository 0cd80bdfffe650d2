"""Training a byte-level BPE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from megatron_sbp.tokenization.tokenizer import ROLES, TextTokenizer

MIN_VOCAB_SIZE = 256 + len(ROLES)
"""One token per byte, so any text can be encoded, and one per role."""


def train_bpe(
    texts: Iterable[str], vocab_size: int, roles: dict[str, str], train_characters: int | None = None
) -> TextTokenizer:
    """Trains a byte-level BPE; the same texts give the same tokenizer.

    Text is cut before every digit and by GPT-2's rule (letters, digits, punctuation, white space) before merging.
    Ids: the three roles are 0, 1, 2 in the order of ROLES, then the 256 bytes, then the merges.

    Args:
        texts: documents.
        vocab_size: entries, roles included; a small corpus may yield fewer.
        roles: token text of every role.
        train_characters: number of characters to train on; None reads all texts.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    assert vocab_size >= MIN_VOCAB_SIZE, vocab_size
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[roles[role] for role in ROLES],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_first(texts, train_characters), trainer)
    return TextTokenizer(backend, {role: roles[role] for role in ROLES})


def _first(texts: Iterable[str], characters: int | None) -> Iterator[str]:
    """Yields texts up to a total number of characters; the last one is truncated."""
    left = characters
    for text in texts:
        if left is None:
            yield text
            continue
        if left <= 0:
            return
        yield text[:left]
        left -= len(text)
