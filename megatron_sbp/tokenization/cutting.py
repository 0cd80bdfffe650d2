"""Cutting token sequences without cutting a character in two."""

from __future__ import annotations

from typing import Literal

import numpy as np


def cut_tokens(
    tokens: np.ndarray, limit: int, starts_character: np.ndarray, cut: Literal["head", "tail"] = "tail"
) -> np.ndarray:
    """At most `limit` tokens of a document, whole UTF-8 characters only.

    Args:
        tokens: integers [n], the tokens of whole text.
        limit: tokens to keep at most.
        starts_character: `TextTokenizer.starts_character`.
        cut: which end is cut: "tail" keeps the beginning, "head" keeps the end.

    Returns:
        A view of `tokens`. It is a few tokens shorter than `limit` where a character would have been cut in two, and
        can be empty where a single character has more than `limit` tokens.
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
