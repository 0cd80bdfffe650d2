"""Truncates token sequences without splitting a character."""

from __future__ import annotations

from typing import Literal

import numpy as np


def cut_tokens(
    tokens: np.ndarray, limit: int, starts_character: np.ndarray, cut: Literal["head", "tail"] = "tail"
) -> np.ndarray:
    """Truncates a document to at most `limit` tokens and whole UTF-8 characters.

    Args:
        tokens: integers [n], the tokens of the complete text.
        limit: maximum number of tokens to keep.
        starts_character: `TextTokenizer.starts_character`.
        cut: which end is cut: "tail" keeps the beginning, "head" keeps the end.

    Returns:
        A view of `tokens`. It is a few tokens shorter than `limit` if a character would have been split, and may be
        empty if a single character has more than `limit` tokens.
    """
    tokens = np.asarray(tokens)
    if tokens.size <= limit:
        return tokens
    if cut == "tail":
        end = limit
        while end > 0 and not starts_character[tokens[end]]:
            end -= 1
        return tokens[:end]
    begin = tokens.size - limit
    while begin < tokens.size and not starts_character[tokens[begin]]:
        begin += 1
    return tokens[begin:]
