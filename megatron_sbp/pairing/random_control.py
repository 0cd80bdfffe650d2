"""The control without relatedness: the same seed documents with random targets."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.documents.field_values import MISSING
from megatron_sbp.overlap.shared_shingles import TokenSpans, arrays, hash_set, shared
from megatron_sbp.pairing.field_rules import FieldRules
from megatron_sbp.recipe import Pairs

_ATTEMPTS_PER_TARGET = 100
_STEP = np.uint64(0x9E3779B97F4A7C15)


class _Rules(NamedTuple):
    """Requirements for a target, as passed to compiled code: see `FieldRules` and `Pairs`."""

    values: np.ndarray
    equal: np.ndarray
    shortest: int
    longest: int
    shingle: int
    most_shared: float


def draw_targets(
    seeds: np.ndarray, counts: np.ndarray, *, documents: TokenSpans, fields: FieldRules, rules: Pairs, run_seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Samples as many different targets for every seed document as it has in the mined pairs.

    Uniform over all documents except the seed itself, documents that are too short or too long to be a target,
    documents whose fields may not be paired with the seed's, and near-duplicates of the seed. The samples of a seed
    document depend only on `run_seed` and its row.

    Args:
        seeds: rows, int64 [n], each once.
        counts: targets wanted, int64 [n].
        documents: tokens of all documents.
        fields: what is compared of their fields.
        rules: min_target_tokens, max_target_tokens, shingle_tokens and max_shared_shingles are used.
        run_seed: the recipe's seed.

    Returns:
        seeds int64 [pairs], in the given order, and targets int64 [pairs], in sampling order. Fewer pairs than
        requested if 100 attempts per target did not find enough.
    """
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    wanted = _Rules(
        values=fields.values,
        equal=fields.equal,
        shortest=rules.min_target_tokens,
        longest=rules.max_target_tokens or np.iinfo(np.int64).max,
        shingle=rules.shingle_tokens,
        most_shared=rules.max_shared_shingles,
    )
    targets = _draw(arrays(documents), wanted, np.ascontiguousarray(seeds), bounds, np.uint64(run_seed % 2**64))
    found = targets >= 0
    return np.repeat(seeds, counts)[found], targets[found]


@numba.njit(cache=CACHED)
def _mix(value: np.uint64) -> np.uint64:
    """SplitMix64 (Steele, Lea, Flood 2014): a 64-bit integer to a pseudo-random one."""
    value += _STEP
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@numba.njit(parallel=True, cache=CACHED)
def _draw(
    documents: tuple[np.ndarray, np.ndarray, np.ndarray],
    rules: _Rules,
    seeds: np.ndarray,
    bounds: np.ndarray,
    run_seed: np.uint64,
) -> np.ndarray:
    """Targets of seed i between bounds[i] and bounds[i + 1], -1 if none was found: int64 [bounds[-1]]."""
    tokens, starts, lengths = documents
    targets = np.full(bounds[-1], -1, np.int64)
    rows = np.uint64(len(lengths))
    for place in numba.prange(len(seeds)):
        seed, begin, end = seeds[place], bounds[place], bounds[place + 1]
        seed_shingles = hash_set(tokens, starts[seed], lengths[seed], rules.shingle)
        stream = _mix(_mix(run_seed) ^ np.uint64(seed))
        filled = begin
        for attempt in range(_ATTEMPTS_PER_TARGET * (end - begin)):
            if filled == end:
                break
            # The remainder favors low rows by less than rows / 2^64.
            target = np.int64(_mix(stream + np.uint64(attempt) * _STEP) % rows)
            taken = target == seed or lengths[target] < rules.shortest or lengths[target] > rules.longest
            for field in range(len(rules.equal)):
                same = rules.values[field, seed] == rules.values[field, target] and rules.values[field, seed] != MISSING
                taken = taken or same != rules.equal[field]
            for other in range(begin, filled):
                taken = taken or targets[other] == target
            if taken or (
                shared(tokens, starts[target], lengths[target], rules.shingle, seed_shingles) > rules.most_shared
            ):
                continue
            targets[filled] = target
            filled += 1
    return targets
