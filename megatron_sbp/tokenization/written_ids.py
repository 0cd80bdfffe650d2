"""Stores generated token ids in a row next to their text: base64 of three bytes per id."""

from __future__ import annotations

import base64

import numpy as np

from megatron_sbp.tokenization.tokenizer import TextTokenizer

FIELD = "token_ids"
"""Name of the field."""

# Four characters per id, whatever the vocabulary: zstd finds repeated tokens, which it does not if ids cross
# characters. JSON lists compress to the same size, but parse five times slower and take thirteen times the memory.
_BYTES = 3


def pack_ids(ids: np.ndarray) -> str:
    """Encodes ids as a row's value of `FIELD`.

    Args:
        ids: integers [n], each at least 0 and below 2^24.
    """
    assert not len(ids) or (ids.min() >= 0 and ids.max() < 1 << 8 * _BYTES), (ids.min(), ids.max())
    four = ids.astype(">u4").view(np.uint8).reshape(-1, 4)
    return base64.b64encode(four[:, 4 - _BYTES :].tobytes()).decode()


def unpack_ids(value: object) -> np.ndarray | None:
    """Decodes a row's value: int64 [n]; None for a missing value or one that `pack_ids` did not produce."""
    try:
        data = np.frombuffer(base64.b64decode(value, validate=True), np.uint8) if isinstance(value, str) else None
    except ValueError:
        return None
    if data is None or len(data) % _BYTES:
        return None
    return data.reshape(-1, _BYTES).astype(np.int64) @ [1 << 16, 1 << 8, 1]


def ids_with_text(tokens: np.ndarray, finished: bool, tokenizer: TextTokenizer) -> np.ndarray:
    """The generated tokens that represent text: int64 [at most n].

    Omits special tokens, ids outside the vocabulary, and the fragments of a split character at the end of an unfinished
    text.

    Args:
        tokens: integers [n], without end-of-document.
        finished: whether end-of-document was generated.
        tokenizer: of the model.
    """
    ids = np.asarray(tokens, np.int64)
    ids = ids[ids < tokenizer.vocab_size]
    ids = ids[tokenizer.has_text[ids]]
    while not finished and len(ids) and tokenizer.decode(ids).endswith("\ufffd"):
        ids = ids[:-1]
    return ids


def ids_of_text(value: object, text: str, tokenizer: TextTokenizer) -> np.ndarray | None:
    """The ids in a row if they match its text: int64 [n].

    None for a row without ids, or with ids that do not match this text and tokenizer: the text was edited, or another
    tokenizer was used.

    Args:
        value: the row's `FIELD`, of any type.
        text: the row's text.
        tokenizer: the one used for training.
    """
    ids = unpack_ids(value)
    if ids is None or (ids >= tokenizer.vocab_size).any() or not tokenizer.has_text[ids].all():
        return None
    return ids if tokenizer.decode(ids) == text else None
