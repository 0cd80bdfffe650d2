"""Controls without relatedness: the effect of any text derived from D, by a model or at random, on an arm."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.synthesis.engine import Written
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.synthesizer import Synthesizer, Writer, without_end
from megatron_sbp.tokenization.tokenizer import TextTokenizer


class UnconditionalSampler(Synthesizer):
    """Generates documents without a seed document from a model trained on documents: plain self-distillation.

    The arguments are those of Synthesizer; those about seed documents have no effect. A row has neither seed_id nor
    seed_row.
    """

    id_prefix = "sample"

    def _prompt(self, seed: np.ndarray) -> np.ndarray:
        # Documents follow each other in training, so a new one begins after end-of-document.
        return np.array([self.tokenizer.end_of_document])

    def _row(self, generation: Generation, written: Written, seed_id: str | None) -> JsonObject:
        return {**super()._row(generation, written, None), "seed_row": None}


class TokenReplacement(Writer):
    """Copies every seed document with some of its tokens replaced by tokens of other documents.

    Args:
        tokenizer: the run's.
        tokens: of all documents, integers [n]: replacements are sampled from them, so frequent tokens stay frequent.
        replaced: probability that a token is replaced.
        seed: the run's seed.
    """

    id_prefix = "replaced"

    def __init__(self, tokenizer: TextTokenizer, tokens: np.ndarray, *, replaced: float, seed: int):
        settings = ReplacementSettings(replaced, tokenizer.end_of_document, len(tokens), seed)
        super().__init__(ReplacementEngine(settings, tokens), tokenizer)

    def _prompt(self, seed: np.ndarray) -> np.ndarray:
        return without_end(seed, self.tokenizer)


@dataclasses.dataclass(frozen=True)
class ReplacementSettings:
    """Settings of token replacement."""

    replaced: float
    """Probability that a token is replaced."""
    end_of_document: int
    """Id that is never used as a replacement."""
    tokens: int
    """Number of tokens from which replacements are sampled."""
    seed: int
    """The run's seed."""

    def identity(self) -> JsonObject:
        """All fields."""
        return dataclasses.asdict(self)

    def provenance(self) -> JsonObject:
        """No weights, and the probability."""
        return {"synthesizer": None, "replaced": self.replaced}


class ReplacementEngine:
    """Copies each prompt with some of its tokens replaced; every text depends only on its generation.

    Args:
        settings: of the replacement.
        tokens: integers [settings.tokens].
    """

    def __init__(self, settings: ReplacementSettings, tokens: np.ndarray):
        self.settings, self._tokens = settings, tokens

    def write(self, generations: Sequence[Generation], prompts: Sequence[np.ndarray]) -> list[Written]:
        """Writes one text per generation: see `Engine`."""
        return [
            Written(self._replace(prompt, generation), finished=True)
            for generation, prompt in zip(generations, prompts, strict=True)
        ]

    def _replace(self, tokens: np.ndarray, generation: Generation) -> np.ndarray:
        settings = self.settings
        random = np.random.default_rng([settings.seed, Stream.REPLACED_TOKENS, generation.row, generation.number])
        chosen = random.random(len(tokens)) < settings.replaced
        others = self._tokens[random.integers(len(self._tokens), size=len(tokens))].astype(np.int64)
        chosen &= others != settings.end_of_document
        return np.where(chosen, others, tokens)
