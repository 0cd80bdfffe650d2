"""Synthetic text without relatedness: what any text that a model, or chance, makes of D would do for an arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.synthesis.engine import Written
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.synthesizer import Synthesizer, ids_digest, text_of, without_end
from megatron_sbp.tokenization.tokenizer import TextTokenizer


class UnconditionalSampler(Synthesizer):
    """A model trained on documents, writing new ones without a seed document: plain self-distillation.

    The arguments are Synthesizer's; those of seed documents have no effect. A row has neither seed_id nor seed_row.
    """

    def _prompt(self, seed: np.ndarray) -> np.ndarray:
        # Documents follow one another in training, so end-of-document is what a new one begins after.
        return np.array([self.tokenizer.end_of_document])

    def _row(self, generation: Generation, written: Written, seed_id: str | None) -> dict[str, Any]:
        return {
            **super()._row(generation, written, None),
            "id": f"sample-{generation.row}-{generation.number}",
            "seed_row": None,
        }


class TokenReplacement:
    """Writes every seed document again, with some of its tokens replaced by tokens of other documents.

    Args:
        tokenizer: the run's.
        tokens: of all documents, integers [n]: a replacement is drawn among them, so that frequent ones are frequent.
        replaced: probability that a token is replaced.
        seed: the run's seed.
    """

    def __init__(self, tokenizer: TextTokenizer, tokens: np.ndarray, *, replaced: float, seed: int):
        self.tokenizer, self.seed = tokenizer, seed
        self._tokens, self._replaced = tokens, replaced

    def generate(
        self,
        planned: Sequence[Generation],
        tokens: Mapping[int, np.ndarray],
        names: Mapping[int, str],
        advance: Callable[[int], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Rows as of `Synthesizer.generate`, with `replaced` in place of the sampling settings."""
        rows = []
        for generation in planned:
            written = self.replace(without_end(tokens[generation.row], self.tokenizer), generation)
            rows.append(
                {
                    "id": f"replaced-{generation.row}-{generation.number}",
                    "text": text_of(Written(written, finished=True), self.tokenizer),
                    "tokens": len(written) + 1,
                    "ids_digest": ids_digest(written),
                    "finished": True,
                    "seed_id": names[generation.row],
                    "seed_row": generation.row,
                    "generation": generation.number,
                    "synthesizer": None,
                    "replaced": self._replaced,
                    "run_seed": self.seed,
                }
            )
            if advance:
                advance(1)
        return rows

    def replace(self, tokens: np.ndarray, generation: Generation) -> np.ndarray:
        """The tokens of a document with replacements, int64 [n]; they follow from the generation alone."""
        random = np.random.default_rng([self.seed, Stream.REPLACED_TOKENS, generation.row, generation.number])
        chosen = random.random(len(tokens)) < self._replaced
        others = self._tokens[random.integers(len(self._tokens), size=len(tokens))].astype(np.int64)
        chosen &= others != self.tokenizer.end_of_document
        return np.where(chosen, others, tokens)
