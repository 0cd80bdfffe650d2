"""The rules that drop synthetic documents, and their order.

These rules need only a text and its seed; the opt-in rules are in further_rules.py, all names in rule_names.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.overlap.loops import periodic_tail, repeated_token_share
from megatron_sbp.overlap.repetition import repeated_share
from megatron_sbp.overlap.shingles import shared_fraction, shingle_hashes
from megatron_sbp.recipe import Filter


def broken(text: str) -> bool:
    """Whether a text contains bytes that were not UTF-8 (U+FFFD), or control characters other than white space."""
    return _BROKEN(text) is not None


_BROKEN = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]").search  # Unicode's category Cc, but for \t \n \r


@dataclass(frozen=True)
class Opinion:
    """One rule's opinion on a generation.

    Attributes:
        rule: its name.
        value: its measure; None if not measurable.
        limit: the recipe's limit; None for a rule without one.
        drops: whether it drops the generation.
    """

    rule: str
    value: float | bool | None
    limit: float | str | None
    drops: bool


def opinions(
    row: JsonObject, rules: Filter, tokens: np.ndarray, seed_tokens: np.ndarray, length: int
) -> Iterator[Opinion]:
    """Opinions of all rules on a single generation, in order of application; arguments as for `first_rule`. Lazy: no
    rule after the first one that drops the text needs to be evaluated."""
    text = row["text"]
    damaged = broken(text)
    yield Opinion("broken_text", damaged, rules.broken_text, damaged and rules.broken_text == "drop")
    yield Opinion("too_short", len(tokens), rules.min_tokens, len(tokens) < rules.min_tokens or not text.strip())
    unfinished = not row["finished"]
    yield Opinion("unfinished", unfinished, rules.unfinished, unfinished and rules.unfinished == "drop")
    repeats = repeated_share(text)
    yield Opinion("repetition", repeats, rules.max_repetition, repeats > rules.max_repetition)
    if rules.max_token_repetition is not None:
        repeats = repeated_token_share(tokens)
        yield Opinion("token_repetition", repeats, rules.max_token_repetition, repeats > rules.max_token_repetition)
    if rules.max_periodic_tail is not None:
        tail = periodic_tail(tokens)
        yield Opinion("periodic_tail", tail, rules.max_periodic_tail, tail > rules.max_periodic_tail)
    copied = shared_fraction(shingle_hashes(tokens, length), shingle_hashes(seed_tokens, length))
    yield Opinion("copying", copied, rules.max_copying, copied > rules.max_copying)


def first_rule(row: JsonObject, rules: Filter, tokens: np.ndarray, seed_tokens: np.ndarray, length: int) -> str:
    """The first rule that drops a single generation, or '' for none.

    Args:
        row: the generation.
        rules: the recipe's filter section.
        tokens: of its text, retokenized; without end-of-document.
        seed_tokens: of its whole seed document, without end-of-document.
        length: tokens in a shingle.
    """
    return next((said.rule for said in opinions(row, rules, tokens, seed_tokens, length) if said.drops), "")
