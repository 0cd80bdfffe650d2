"""The rules that drop synthetic documents, in the order in which they are applied and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from megatron_sbp.recipe import Filter
from megatron_sbp.shingles import shared_fraction, shingle_hashes
from megatron_sbp.synthesis.repetition import repeated_share

RULES = ("broken_text", "too_short", "unfinished", "repetition", "copying", "duplicate")
"""Names of the rules in audit.json. A document counts for the first one that drops it."""

SHOWN = 3
"""Examples kept per rule."""


@dataclass
class Dropped:
    """What fell to which rule."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RULES, 0))
    examples: dict[str, list[str]] = field(default_factory=lambda: {rule: [] for rule in RULES})

    def add(self, rule: str, text: str) -> None:
        """Counts one document."""
        self.counts[rule] += 1
        if len(self.examples[rule]) < SHOWN:
            self.examples[rule].append(text[:600])


def first_rule(row: dict[str, Any], rules: Filter, tokens: np.ndarray, seed_tokens: np.ndarray, length: int) -> str:
    """The first rule that drops a draft by itself, or '' for none.

    Args:
        row: the draft.
        rules: the recipe's filter section.
        tokens: of its text.
        seed_tokens: of its seed document.
        length: tokens in a shingle.
    """
    text = row["text"]
    if "\ufffd" in text or any(ord(mark) < 32 and mark not in "\n\t\r" for mark in text):
        return "broken_text"
    if len(tokens) < rules.min_tokens or not text.strip():
        return "too_short"
    if not row["finished"] and rules.unfinished == "drop":
        return "unfinished"
    if repeated_share(text) > rules.max_repetition:
        return "repetition"
    shared = shared_fraction(shingle_hashes(tokens, length), shingle_hashes(seed_tokens, length))
    return "copying" if shared > rules.max_copying else ""


def duplicates(texts: Iterable[str], rules: Filter) -> np.ndarray:
    """Which texts repeat an earlier one, by the recipe's rule: bool [texts]."""
    texts = list(texts)
    if rules.duplicates == "keep":
        return np.zeros(len(texts), bool)
    if rules.duplicates == "near":
        from megatron_sbp.near_duplicates import near_duplicates, signatures

        return near_duplicates(signatures(texts), rules.duplicate_threshold)
    return np.array(list(_exact(texts)), bool)


def _exact(texts: Iterable[str]) -> Iterator[bool]:
    seen: set[str] = set()
    for text in texts:
        key = " ".join(text.split())
        yield key in seen
        seen.add(key)
