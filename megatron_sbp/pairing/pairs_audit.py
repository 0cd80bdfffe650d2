"""Audit of mining: counts by rule, histograms, examples."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np

from megatron_sbp.base.pair_keys import pair_keys
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.pairing.neighbors.scores import NO_NEIGHBOR
from megatron_sbp.pairing.pair_rules import RULES, Candidates, rules_of
from megatron_sbp.pairing.similarity_bands import bands_of, limits
from megatron_sbp.recipe import Pairs
from megatron_sbp.recipe.sections import CONTROL_RELATIONS

EXAMPLES, NEAR_DUPLICATE_EXAMPLES = 10, 5
EXAMPLES_PER_BAND = 10
EXAMPLE_CHARACTERS = 300
_EDGES = np.round(np.linspace(-1, 1, 101), 2)
REMEMBERED_BELOW_ALPHA = 1000
"""Number of best candidates below alpha to remember, to suggest a better alpha if no pair is left."""

_Example = tuple[int, int, int, float, float]
"""Sampling key, seed, target, score, and shared shingles."""

_COUNTS = ("documents", "documents_with_pairs", "candidates", "kept", "not_drawn", "full_lists")


class PairsAudit:
    """Collects the audit of one split, shard by shard.

    Args:
        rules: the recipe's.
        run_seed: determines which pairs become examples.
    """

    def __init__(self, rules: Pairs, run_seed: int):
        self.rules, self._run_seed = rules, run_seed
        self.documents = self.documents_with_pairs = self.candidates = self.kept = self.not_drawn = 0
        self.full_lists = 0
        self.seeds_per_target: JsonObject | None = None
        """See `TargetCounts.summary`; known once all pairs are."""
        self.dropped: Counter[str] = Counter(dict.fromkeys(rules_of(rules), 0))
        self.largest_score: float | None = None
        self._candidate_scores = np.zeros(len(_EDGES) - 1, np.int64)
        self._kept_scores = np.zeros(len(_EDGES) - 1, np.int64)
        self._targets_per_seed: Counter[int] = Counter()
        self._examples: list[_Example] = []
        self._copies: list[_Example] = []
        self._bands: dict[int, tuple[int, list[_Example]]] | None = {}
        """Counts and examples of kept pairs in each band of similarity. None if shards were mined by a version that did
        not record them."""
        self._below: list[tuple[float, int, int]] = []

    def add(self, ids: np.ndarray, candidates: Candidates) -> None:
        """Records one shard of neighbors and the results of the rules."""
        self.documents += len(ids)
        self.candidates += len(candidates.seeds)
        for rule in self.dropped:
            self.dropped[rule] += int((candidates.fell_to == RULES.index(rule)).sum())
        self._candidate_scores += _histogram(candidates.scores)
        if candidates.scores.size:
            largest = float(candidates.scores.max())
            self.largest_score = largest if self.largest_score is None else max(self.largest_score, largest)
        # Its list may continue above alpha: a larger k would find more.
        last = candidates.scores[np.cumsum((ids != NO_NEIGHBOR).sum(axis=1))[ids[:, -1] != NO_NEIGHBOR] - 1]
        self.full_lists += int((last > self.rules.alpha).sum())
        copies = candidates.fell_to == RULES.index("near_duplicate")
        self._copies = self._sampled(self._copies, _only(candidates, copies), NEAR_DUPLICATE_EXAMPLES)
        below = np.flatnonzero(candidates.fell_to == RULES.index("below_alpha"))
        best = below[np.argsort(-candidates.scores[below], kind="stable")[:REMEMBERED_BELOW_ALPHA]]
        found = [(float(candidates.scores[i]), int(candidates.seeds[i]), int(candidates.targets[i])) for i in best]
        self._below = sorted(self._below + found, reverse=True)[:REMEMBERED_BELOW_ALPHA]

    def drop(self, rule: str, pairs: int) -> None:
        """Counts the pairs dropped by a rule applied after `add`."""
        self.dropped[rule] += pairs

    def add_pairs(self, seeds: np.ndarray, targets: np.ndarray, scores: np.ndarray, shared: np.ndarray) -> None:
        """Records the kept (or sampled) pairs of one shard, ordered by seed."""
        self.kept += len(seeds)
        self._kept_scores += _histogram(scores)
        counts = np.unique(seeds, return_counts=True)[1]
        self.documents_with_pairs += len(counts)
        self._targets_per_seed.update(counts.tolist())
        self._examples = self._sampled(self._examples, (seeds, targets, scores, shared), EXAMPLES)
        bands = bands_of(scores)
        for band in np.unique(bands).tolist():
            members = np.flatnonzero(bands == band)
            some = self._relations(*(column[members] for column in (seeds, targets, scores, shared)))
            self._add_to_band(band, len(members), some)

    def state(self) -> JsonObject:
        """Everything recorded, as JSON, for `absorb`."""
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            "dropped": dict(self.dropped),
            "largest_score": self.largest_score,
            "candidate_scores": self._candidate_scores.tolist(),
            "kept_scores": self._kept_scores.tolist(),
            "targets_per_seed": {str(size): seeds for size, seeds in self._targets_per_seed.items()},
            "examples": self._examples,
            "copies": self._copies,
            "bands": None if self._bands is None else {str(band): found for band, found in self._bands.items()},
            "below": self._below,
        }

    def absorb(self, state: JsonObject) -> None:
        """Adds the audit of other shards. The result does not depend on the order."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + state[name])
        self.dropped.update(state["dropped"])
        largest = [score for score in (self.largest_score, state["largest_score"]) if score is not None]
        self.largest_score = max(largest, default=None)
        self._candidate_scores += np.array(state["candidate_scores"], np.int64)
        self._kept_scores += np.array(state["kept_scores"], np.int64)
        self._targets_per_seed.update({int(size): seeds for size, seeds in state["targets_per_seed"].items()})
        self._examples = sorted([*self._examples, *map(tuple, state["examples"])])[:EXAMPLES]
        self._copies = sorted([*self._copies, *map(tuple, state["copies"])])[:NEAR_DUPLICATE_EXAMPLES]
        theirs = state.get("bands")
        if theirs is None:
            self._bands = None
        else:
            for band, (pairs, examples) in theirs.items():
                self._add_to_band(int(band), pairs, list(map(tuple, examples)))
        below = [*self._below, *map(tuple, state["below"])]
        self._below = sorted(below, reverse=True)[:REMEMBERED_BELOW_ALPHA]

    def best_below_alpha(self) -> list[tuple[float, int, int]]:
        """(score, seed, target) of the best candidates that are not above alpha, best first, at most 1,000."""
        return self._below

    def summary(self) -> JsonObject:
        """The counts; candidates = kept + the sum of dropped."""
        dropped = dict(self.dropped)
        if self.rules.relation in CONTROL_RELATIONS:
            dropped["not_drawn"] = self.not_drawn
        assert self.candidates == self.kept + sum(dropped.values()), (self.candidates, self.kept, dropped)
        first = int(np.flatnonzero(self._candidate_scores + self._kept_scores)[0]) if self.candidates else 0
        return {
            "documents": self.documents,
            "documents_with_pairs": self.documents_with_pairs,
            "documents_with_full_lists": self.full_lists,
            "candidates": self.candidates,
            "kept": self.kept,
            "dropped": dropped,
            "largest_score": self.largest_score,
            "score_histogram": {
                "edges": _EDGES[first:].tolist(),
                "candidates": self._candidate_scores[first:].tolist(),
                "kept": self._kept_scores[first:].tolist(),
            },
            "targets_per_seed": {
                **_spread(self._targets_per_seed),
                "histogram": {str(size): seeds for size, seeds in sorted(self._targets_per_seed.items())},
            },
            "seeds_per_target": self.seeds_per_target,
            "alpha": self.rules.alpha,
            "relation": self.rules.relation,
        }

    def examples(self, read: Callable[[set[int]], dict[int, JsonObject]]) -> dict[str, list[JsonObject]]:
        """Random kept pairs, and random pairs dropped by the near-duplicate rule, with their texts.

        Args:
            read: returns the documents (with id, text, and optionally title) of some rows.

        Returns:
            examples; examples_dropped_near_duplicate; and bands, the highest first, each with from, to, pairs and
            examples: ten of its kept pairs, one direction of each, by score.
        """
        bands = sorted((self._bands or {}).items(), reverse=True)
        drawn = [self._examples, self._copies, *(some for _, (_, some) in bands)]
        rows = {row for entry in itertools.chain.from_iterable(drawn) for row in entry[1:3]}
        texts = read(rows)

        def described(entry: _Example) -> JsonObject:
            _, seed, target, score, shared = entry
            return {
                "score": round(score, 4),
                "shared_shingles": round(shared, 4),
                "seed": _excerpt(texts[seed]),
                "target": _excerpt(texts[target]),
            }

        def in_band(band: int, found: tuple[int, list[_Example]]) -> JsonObject:
            pairs, some = found
            by_score = sorted(some, key=lambda entry: (-entry[3], entry))
            return {**limits(band), "pairs": pairs, "examples": [described(entry) for entry in by_score]}

        return {
            "examples": [described(entry) for entry in self._examples],
            "examples_dropped_near_duplicate": [described(entry) for entry in self._copies],
            **({} if self._bands is None else {"bands": [in_band(*found) for found in bands]}),
        }

    def _relations(self, *pairs: np.ndarray) -> list[_Example]:
        """Sampled pairs of a band, with the same key for both directions: keeps that of the lower row."""
        seeds, targets, scores, shared = pairs
        low, high = np.minimum(seeds, targets), np.maximum(seeds, targets)
        keys = pair_keys(low, high, self._run_seed)
        first = np.lexsort((seeds, keys))[: 2 * EXAMPLES_PER_BAND]
        rows = zip(*(column[first].tolist() for column in (keys, seeds, targets, scores, shared)), strict=True)
        return list(rows)

    def _add_to_band(self, band: int, pairs: int, examples: list[_Example]) -> None:
        if self._bands is None:
            return
        before, former = self._bands.get(band, (0, []))
        by_key: dict[int, _Example] = {}
        for entry in sorted([*former, *examples]):
            by_key.setdefault(entry[0], entry)
        self._bands[band] = before + pairs, list(by_key.values())[:EXAMPLES_PER_BAND]

    def _sampled(self, former: list[_Example], pairs: tuple[np.ndarray, ...], size: int) -> list[_Example]:
        """The `size` pairs with the smallest pseudo-random key: a uniform sample that does not depend on the
        sharding."""
        seeds, targets, scores, shared = pairs
        keys = pair_keys(seeds, targets, self._run_seed)
        first = np.argsort(keys, kind="stable")[:size]
        rows = zip(*(column[first].tolist() for column in (keys, seeds, targets, scores, shared)), strict=True)
        return sorted([*former, *rows])[:size]


def _spread(counts: Counter[int]) -> dict[str, float | int]:
    """Mean, median, and maximum of numbers from their frequencies: one number per document would take gigabytes."""
    if not counts:
        return {"mean": 0.0, "median": 0.0, "largest": 0}
    values = np.array(sorted(counts), np.int64)
    often = np.array([counts[value] for value in values.tolist()], np.int64)
    ends = np.cumsum(often)
    middle = values[np.searchsorted(ends, [(ends[-1] - 1) // 2, ends[-1] // 2], side="right")]
    return {
        "mean": float((values * often).sum() / ends[-1]),
        "median": float(middle.mean()),
        "largest": int(values[-1]),
    }


def _only(candidates: Candidates, which: np.ndarray) -> tuple[np.ndarray, ...]:
    return candidates.seeds[which], candidates.targets[which], candidates.scores[which], candidates.shared[which]


def _histogram(scores: np.ndarray) -> np.ndarray:
    # float16 vectors are sometimes slightly longer than 1: such scores go into the last bin.
    return np.histogram(np.clip(scores, -1, 1), _EDGES)[0]


def _excerpt(row: JsonObject) -> JsonObject:
    title = row.get("title")
    return {
        "id": row["id"],
        "title": title if isinstance(title, str) else None,
        "text": row["text"][:EXAMPLE_CHARACTERS],
    }
