"""Examples of the texts that every filter dropped, with their measures."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.rule_names import rule_names
from megatron_sbp.synthesis.synthesizer import without_end
from megatron_sbp.synthesis.text_rules import opinions
from megatron_sbp.tokenization.indexed import IndexedTokens, open_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer

SHOWN, SHOWN_CHARACTERS = 10, 3000
"""Number of examples per rule, and the stored length of their texts."""

type Measure = Callable[[Mapping[str, JsonValue]], Mapping[str, float | bool | None]]
"""Measures of a generation, by rule."""


class DroppedExamples:
    """For each rule, the texts whose ids have the smallest digests: a random choice that does not depend on the order
    or the number of processes.

    Args:
        rules: the recipe's filter section.
        measure: further measures of an example besides those passed to `add`; None for none.
    """

    def __init__(self, rules: Filter, measure: Measure | None = None):
        self._limits = _limits(rules)
        self._measure = measure
        self._chosen: dict[str, list[tuple[int, JsonObject]]] = {rule: [] for rule in rule_names(rules)}

    def add(self, rule: str, row: Mapping[str, JsonValue], tokens: int, measures: Mapping[str, float | None]) -> None:
        """Considers a generation that a rule dropped.

        Args:
            rule: its name.
            row: the generation.
            tokens: of its text, without end-of-document.
            measures: the opt-in rules' measures on disk.
        """
        self._offer(rule, _place(row), {"row": row, "tokens": tokens, "measures": measures})

    def join(self, part: Mapping[str, Sequence[JsonValue]]) -> None:
        """Considers the examples of another shard, as returned by `told`; plain texts in files of earlier versions."""
        for rule in self._chosen:
            for told in part[rule]:
                example = told if isinstance(told, dict) else {"text": told}
                self._offer(rule, _place(example), example)

    def told(self) -> dict[str, list[JsonObject]]:
        """By rule: `id`, `seed_id`, `measured` by rule, the `limit` of the rule that dropped the text (None for one
        without a number), `text` (its beginning), and `characters` of the whole text."""
        return {
            rule: [self._told(rule, example) if "row" in example else example for _, example in chosen]
            for rule, chosen in self._chosen.items()
        }

    def _offer(self, rule: str, place: int, example: JsonObject) -> None:
        chosen = self._chosen[rule]
        if len(chosen) < SHOWN or place < chosen[-1][0]:
            bisect.insort(chosen, (place, example), key=lambda entry: entry[0])
            del chosen[SHOWN:]

    def _told(self, rule: str, example: JsonObject) -> JsonObject:
        row, measures = example["row"], example["measures"]
        found = {"too_short": example["tokens"], **({} if self._measure is None else self._measure(row))}
        found |= {name: value for name, value in measures.items() if value is not None}
        return {
            "id": row.get("id"),
            "seed_id": row.get("seed_id"),
            "measured": {name: round(value, 6) if isinstance(value, float) else value for name, value in found.items()},
            "limit": self._limits.get(rule),
            "text": row["text"][:SHOWN_CHARACTERS],
            "characters": len(row["text"]),
        }


class TextMeasures:
    """Measures of a generation by the rules of every recipe. Tokenizer and seed documents are opened on first use.

    Args:
        tokenizer: opens the tokenizer used for training.
        tokens: prefix of the seed documents' IndexedDataset; None if no row names one.
        rules: the recipe's filter section.
        length: tokens in a shingle.
    """

    def __init__(self, tokenizer: Callable[[], TextTokenizer], tokens: Path | None, rules: Filter, length: int):
        self._open, self._tokens, self._rules, self._length = tokenizer, tokens, rules, length
        self._opened: tuple[TextTokenizer, IndexedTokens | None] | None = None

    def __call__(self, row: Mapping[str, JsonValue]) -> dict[str, float | bool | None]:
        """Measures of all rules for a generation with `seed_row`, regardless of the rule that dropped it."""
        if self._opened is None:
            self._opened = self._open(), None if self._tokens is None else open_indexed(self._tokens)
        tokenizer, real = self._opened
        tokens = np.array(tokenizer.encode_batch([row["text"]])[0], np.int64)
        seed_tokens = np.empty(0, np.int64)
        if row["seed_row"] is not None and real is not None:
            seed_tokens = without_end(real[row["seed_row"]], tokenizer)
        said = opinions(dict(row), self._rules, tokens, seed_tokens, self._length)
        return {one.rule: one.value for one in said if not (one.rule == "copying" and not len(seed_tokens))}


def _place(row: Mapping[str, JsonValue]) -> int:
    """Sort key of examples: a digest of the id, or of the text if there is no id."""
    name = row["text"] if row.get("id") is None else str(row["id"])
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest())


def _limits(rules: Filter) -> dict[str, float | None]:
    return {
        "too_short": rules.min_tokens,
        "repetition": rules.max_repetition,
        "token_repetition": rules.max_token_repetition,
        "periodic_tail": rules.max_periodic_tail,
        "copying": rules.max_copying,
        "corpus_copying": rules.max_corpus_copying,
        "similarity": rules.min_similarity,
    }
