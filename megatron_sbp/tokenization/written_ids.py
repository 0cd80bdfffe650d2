"""Token ids that a model wrote, kept in a row beside their text: base64 of three bytes per id."""

from __future__ import annotations

import base64

import numpy as np

from megatron_sbp.tokenization.tokenizer import TextTokenizer

FIELD = "token_ids"
"""Where a row has them."""

# Four characters per id, whatever the vocabulary: zstd finds repeated tokens, which it does not if ids straddle
# characters. JSON lists compress to the same size, but parse five times slower and take thirteen times the memory.
_BYTES = 3


def pack_ids(ids: np.ndarray) -> str:
    """A row's value for `FIELD`.

    Args:
        ids: integers [n], each at least 0 and below 2^24.
    """
    assert not len(ids) or (ids.min() >= 0 and ids.max() < 1 << 8 * _BYTES), (ids.min(), ids.max())
    four = ids.astype(">u4").view(np.uint8).reshape(-1, 4)
    return base64.b64encode(four[:, 4 - _BYTES :].tobytes()).decode()


def unpack_ids(value: object) -> np.ndarray | None:
    """The ids of a row's value: int64 [n]; None for a value that `pack_ids` did not make, such as a missing one."""
    try:
        data = np.frombuffer(base64.b64decode(value, validate=True), np.uint8) if isinstance(value, str) else None
    except ValueError:
        return None
    if data is None or len(data) % _BYTES:
        return None
    return data.reshape(-1, _BYTES).astype(np.int64) @ [1 << 16, 1 << 8, 1]


def ids_with_text(tokens: np.ndarray, finished: bool, tokenizer: TextTokenizer) -> np.ndarray:
    """Of the tokens that a model wrote, those that are text: int64 [at most n].

    Left out are special tokens, ids outside the vocabulary, and, at the end of an unfinished text, the pieces of a
    character that was cut in two.

    Args:
        tokens: integers [n], without end-of-document.
        finished: whether end-of-document came.
        tokenizer: that of the model.
    """
    ids = np.asarray(tokens, np.int64)
    ids = ids[ids < tokenizer.vocab_size]
    ids = ids[tokenizer.has_text[ids]]
    while not finished and len(ids) and tokenizer.decode(ids).endswith("\ufffd"):
        ids = ids[:-1]
    return ids


def ids_of_text(value: object, text: str, tokenizer: TextTokenizer) -> np.ndarray | None:
    """The ids in a row, where they are those of its text: int64 [n].

    None for a row without ids, or with ids that are not this tokenizer's for this text: the text was edited since, or
    another tokenizer wrote it.

    Args:
        value: the row's `FIELD`, whatever is there.
        text: the row's text.
        tokenizer: that of the training.
    """
    ids = unpack_ids(value)
    if ids is None or (ids >= tokenizer.vocab_size).any() or not tokenizer.has_text[ids].all():
        return None
    return ids if tokenizer.decode(ids) == text else None
