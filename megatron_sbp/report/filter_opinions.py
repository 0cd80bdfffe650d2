"""What the filters measured of an example, each with its limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatron_sbp.base.hugging_face_names import TOKENIZER
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe import Filter, Recipe
from megatron_sbp.synthesis.further_rules import measure_names
from megatron_sbp.synthesis.text_rules import opinions
from megatron_sbp.tokenization.tokenizer import TextTokenizer, load_tokenizer


@dataclass(frozen=True)
class Filters:
    """The filters of a synthesizer.

    Attributes:
        rules: their section of the recipe.
        shingle_tokens: tokens of a shingle.
        tokenizer: the run's; without it copying and tokens are not measured.
    """

    rules: Filter
    shingle_tokens: int
    tokenizer: TextTokenizer | None = None

    def of_kept(self, row: Mapping[str, JsonValue], seed_text: str) -> JsonObject:
        """What each rule measures of a text that was kept.

        Args:
            row: of the synthetic document; it holds what the further rules measured.
            seed_text: the whole seed document; empty where there is none.

        Returns:
            Values by name of the rule; None for what could not be measured.
        """
        found: JsonObject = {}
        if self.tokenizer is not None:
            tokens, seed_tokens = (
                np.array(ids, np.int64) for ids in self.tokenizer.encode_batch([row["text"], seed_text])
            )
            said = opinions(dict(row), self.rules, tokens, seed_tokens, self.shingle_tokens)
            found = {one.rule: one.value for one in said if seed_text or one.rule != "copying"}
        return {**found, **{name: row[name] for name in measure_names(self.rules) if name in row}}

    def told(self, measured: Mapping[str, JsonValue]) -> list[str]:
        """Measurements in words: `repetition 0.012 (at most 0.3)`."""
        return [text for name, value in measured.items() if (text := self._told(name, value)) is not None]

    def _told(self, name: str, value: object) -> str | None:
        rules, label = self.rules, name.replace("_", " ")
        if value is None:
            return None
        if name == "broken_text":
            return "broken text" if value else None
        if name == "unfinished":
            return "not ended" if value else "ended by itself"
        if name == "too_short":
            return f"{value:,} tokens (at least {rules.min_tokens})"
        if isinstance(value, bool):
            return f"{label}: {'yes' if value else 'no'}"
        if not isinstance(value, int | float):
            return f"{label} {value}"
        limits = {
            "repetition": f"at most {rules.max_repetition:g}",
            "token_repetition": f"at most {rules.max_token_repetition}",
            "periodic_tail": f"at most {rules.max_periodic_tail}",
            "copying": f"at most {rules.max_copying:g}",
            "corpus_copying": f"at most {rules.max_corpus_copying}",
            "similarity": f"at least {rules.min_similarity}",
            "duplicate": f"below {rules.duplicate_threshold:g}",
        }
        shown = f"{value:,}" if isinstance(value, int) or (value.is_integer() and value > 1) else f"{value:.3f}"
        return f"{label} {shown}" + (f" ({limits[name]})" if name in limits else "")


def filters_of(recipe: Recipe, tokenizer: Path | None) -> Filters:
    """The filters of a synthesizer.

    Args:
        recipe: with what the synthesizer overrides.
        tokenizer: folder of the run's; None, or a folder that is not there yet, leaves out what needs it.
    """
    there = tokenizer is not None and (tokenizer / TOKENIZER).exists()
    loaded = load_tokenizer(tokenizer) if there and tokenizer is not None else None
    return Filters(recipe.filter, recipe.pairs.shingle_tokens, loaded)
