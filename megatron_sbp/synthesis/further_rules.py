"""The opt-in rules: they need more than a text and its seed, or judge texts in batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.base.user_function import UserFunction, call_batch, documents_of
from megatron_sbp.overlap.contamination import ItemIndex
from megatron_sbp.overlap.corpus_index import CorpusIndex
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.corpus_index import open_corpus_index
from megatron_sbp.synthesis.rule_names import further_names
from megatron_sbp.synthesis.text_rules import Opinion
from megatron_sbp.tokenization.tokenizer import TextTokenizer

LOOKED_UP = "corpus_shingles"
"""Name of the measure with the number of shingles on which a text's `corpus_copying` is based."""


@dataclass(frozen=True)
class Candidate:
    """A generation that passed the rules of every recipe.

    Attributes:
        row: as it is on disk.
        tokens: of its text, without end-of-document: int64 [n].
        seed_tokens: of its seed document: integers [m]; empty where there is none.
        shard: name of its shard.
        place: its index in the shard.
    """

    row: JsonObject
    tokens: np.ndarray
    seed_tokens: np.ndarray
    shard: str = ""
    place: int = 0


@dataclass(frozen=True)
class SampledOpinion(Opinion):
    """An opinion based on a sample.

    Attributes:
        sampled: sample size of which `value` is a share.
    """

    sampled: int


class FurtherRule(ABC):
    """A rule that judges several generations at once."""

    @abstractmethod
    def opinions(self, candidates: Sequence[Candidate]) -> list[Opinion]:
        """The rule's opinion on each, in order."""


@dataclass(frozen=True)
class FurtherSources:
    """Inputs of the opt-in rules.

    Attributes:
        corpus_index: folder of the index of D, for `corpus_copying`.
        items: of the evaluation, for `contaminated`.
        predicate: the user's function.
        similarities: folder with similarities of generations to their seed documents, for `similarity`.
    """

    corpus_index: Path | None = None
    items: ItemIndex | None = None
    predicate: UserFunction | None = None
    similarities: Path | None = None


def further_rules(rules: Filter, sources: FurtherSources, tokenizer: TextTokenizer) -> dict[str, FurtherRule]:
    """The opt-in rules of a recipe by name, in order of application.

    Args:
        rules: the recipe's filter section.
        sources: their inputs; a rule without its source is omitted.
        tokenizer: the run's.

    Raises:
        InputError: the user's function cannot be loaded.
    """
    found: dict[str, FurtherRule] = {}
    if rules.max_corpus_copying is not None and sources.corpus_index is not None:
        found["corpus_copying"] = CorpusCopying(open_corpus_index(sources.corpus_index), rules.max_corpus_copying)
    if rules.contaminated is not None and sources.items is not None:
        found["contaminated"] = Contaminated(sources.items, rules.contaminated)
    if rules.predicate is not None and sources.predicate is not None:
        found["predicate"] = Predicate(sources.predicate, tokenizer)
    if rules.min_similarity is not None and sources.similarities is not None:
        found["similarity"] = Similarity(sources.similarities, rules.min_similarity)
    return found


def measure_names(rules: Filter) -> tuple[str, ...]:
    """Names of the stored measures of a recipe's opt-in rules: their values, and `LOOKED_UP` for a sample."""
    return tuple(
        part for name in further_names(rules) for part in ((name, LOOKED_UP) if name == "corpus_copying" else (name,))
    )


def measures_of(name: str, opinion: Opinion) -> dict[str, float]:
    """Stored measures of an opinion, by `measure_names`; NaN for missing values."""
    found = {name: float("nan") if opinion.value is None else float(opinion.value)}
    return {**found, LOOKED_UP: float(opinion.sampled)} if isinstance(opinion, SampledOpinion) else found


class CorpusCopying(FurtherRule):
    """Drops texts if too large a share of them occurs in D.

    A text without any shingle in the sample passes, since nothing is known about it.

    Args:
        index: of D.
        limit: share of a text's shingles.
    """

    def __init__(self, index: CorpusIndex, limit: float):
        self._index, self._limit = index, limit

    def opinions(self, candidates: Sequence[Candidate]) -> list[Opinion]:
        counts = self._index.counts([one.tokens for one in candidates]).tolist()
        return [
            SampledOpinion(
                "corpus_copying",
                found / sampled if sampled else None,
                self._limit,
                bool(sampled) and found / sampled > self._limit,
                sampled,
            )
            for found, sampled in counts
        ]


class Contaminated(FurtherRule):
    """Counts the evaluation items that occur in a text, and optionally drops texts with any.

    Args:
        items: of the evaluation.
        chosen: keep or drop.
    """

    def __init__(self, items: ItemIndex, chosen: str):
        self._items, self._chosen = items, chosen

    def opinions(self, candidates: Sequence[Candidate]) -> list[Opinion]:
        found = [len(self._items.found(one.row["text"])) for one in candidates]
        drop = self._chosen == "drop"
        return [Opinion("contaminated", count, self._chosen, drop and count > 0) for count in found]


class Predicate(FurtherRule):
    """Drops texts for which a user's function returns False.

    It gets a list of `{"seed": text or None, "text": ..., "row": ...}` and returns a list of bool. The seed's text is
    decoded from its tokens, to avoid searching all of D for the document.

    Args:
        place: the function.
        tokenizer: the run's.

    Raises:
        InputError: see `UserFunction.load`.
    """

    def __init__(self, place: UserFunction, tokenizer: TextTokenizer):
        self._place, self._tokenizer, self._function = place, tokenizer, place.load()

    def opinions(self, candidates: Sequence[Candidate]) -> list[Opinion]:
        batch = [self._case(one) for one in candidates]
        said = call_batch(self._function, batch, self._error) if batch else []
        for case, keep in zip(batch, said, strict=True):
            if not isinstance(keep, bool | np.bool_):
                raise self._error(f"said {keep!r:.60}; it must be True (keep) or False", [case])
        return [Opinion("predicate", bool(keep), self._place.name, not keep) for keep in said]

    def _case(self, candidate: Candidate) -> JsonObject:
        row = candidate.row
        seed = None if row["seed_row"] is None else self._tokenizer.decode(candidate.seed_tokens)
        return {"seed": seed, "text": row["text"], "row": row}

    def _error(self, message: str, batch: list[JsonObject]) -> InputError:
        return self._place.error(f"the predicate {self._place.name}() {message} ({documents_of(batch)})")


class Similarity(FurtherRule):
    """Drops texts that are less similar to their seed document than a limit.

    A text without a seed document, or one not compared yet, passes.

    Args:
        folder: NNNNN.npy, float32 [generations], of every shard: see `write_similarities`.
        limit: cosine.
    """

    def __init__(self, folder: Path, limit: float):
        self._folder, self._limit = folder, limit
        self._shard: tuple[str, np.ndarray] | None = None

    def opinions(self, candidates: Sequence[Candidate]) -> list[Opinion]:
        return [self._opinion(self._values(one.shard), one.place) for one in candidates]

    def _opinion(self, values: np.ndarray, place: int) -> Opinion:
        value = float(values[place]) if len(values) and not np.isnan(values[place]) else None
        return Opinion("similarity", value, self._limit, value is not None and value < self._limit)

    def _values(self, shard: str) -> np.ndarray:
        if self._shard is None or self._shard[0] != shard:
            file = self._folder / f"{shard}.npy"
            self._shard = shard, np.load(file) if file.exists() else np.empty(0, np.float32)
        return self._shard[1]
