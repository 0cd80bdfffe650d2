"""The rules that drop synthetic documents, in the order in which they are applied and counted."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from megatron_sbp.overlap.repetition import repeated_share
from megatron_sbp.overlap.shingles import shared_fraction, shingle_hashes
from megatron_sbp.recipe import Filter

RULES = ("broken_text", "too_short", "unfinished", "repetition", "copying", "duplicate")
"""Names of the rules in audit.json. A document counts for the first one that drops it."""


def broken(text: str) -> bool:
    """Whether a text holds bytes that were no UTF-8 (U+FFFD), or control characters other than white space."""
    return _BROKEN(text) is not None


_BROKEN = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]").search  # Unicode's category Cc, but for \t \n \r


def first_rule(row: dict[str, Any], rules: Filter, tokens: np.ndarray, seed_tokens: np.ndarray, length: int) -> str:
    """The first rule that drops a generation by itself, or '' for none.

    Args:
        row: the generation.
        rules: the recipe's filter section.
        tokens: of its text, as the tokenizer gives them anew; without end-of-document.
        seed_tokens: of its whole seed document, without end-of-document.
        length: tokens in a shingle.
    """
    text = row["text"]
    if broken(text):
        return "broken_text"
    if len(tokens) < rules.min_tokens or not text.strip():
        return "too_short"
    if not row["finished"] and rules.unfinished == "drop":
        return "unfinished"
    if repeated_share(text) > rules.max_repetition:
        return "repetition"
    shared = shared_fraction(shingle_hashes(tokens, length), shingle_hashes(seed_tokens, length))
    return "copying" if shared > rules.max_copying else ""
