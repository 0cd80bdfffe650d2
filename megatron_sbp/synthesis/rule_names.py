"""Names of the rules that drop synthetic documents, in their order. Imports nothing heavy, since stages use them."""

from __future__ import annotations

from megatron_sbp.recipe import Filter

RULES = ("broken_text", "too_short", "unfinished", "repetition", "copying", "duplicate")
"""Names of the rules that every recipe has. A document counts for the first one that drops it."""

FURTHER_RULES = ("corpus_copying", "contaminated", "predicate", "similarity")
"""Names of the opt-in rules, applied in this order between `copying` and `duplicate`."""

TOKEN_RULES = ("token_repetition", "periodic_tail")
"""Names of the opt-in rules that need a text's tokens alone, applied in this order between `repetition` and
`copying`."""

VERDICTS = (*RULES, *FURTHER_RULES, *TOKEN_RULES)
"""Verdicts on disk are indices into this list: append new rules, to keep verdicts of earlier versions valid."""


def further_names(rules: Filter) -> tuple[str, ...]:
    """The opt-in rules of a recipe, in the order in which they are applied."""
    return tuple(name for name, asked in zip(FURTHER_RULES, rules.further, strict=True) if asked is not None)


def rule_names(rules: Filter) -> tuple[str, ...]:
    """The rules of a recipe, in the order in which they are applied and counted."""
    asked = zip(TOKEN_RULES, (rules.max_token_repetition, rules.max_periodic_tail), strict=True)
    of_tokens = (name for name, limit in asked if limit is not None)
    return (*RULES[:4], *of_tokens, RULES[4], *further_names(rules), RULES[-1])
