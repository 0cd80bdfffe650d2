"""Rules that need the pairs of all documents, applied shard by shard, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa

from megatron_sbp.base.side_by_side import side_by_side
from megatron_sbp.pairing.directions import Directions
from megatron_sbp.pairing.pair_rules import joint_rules, rank_within
from megatron_sbp.pairing.target_cap import TargetCap, ranked_columns
from megatron_sbp.recipe import Pairs

SHARDS_AT_ONCE = 4
"""Shards read, filtered, or given ids at a time while all pairs are joined: the single writing thread takes a third of
the total time."""


class _Rule(Protocol):
    def keeps(self, number: int, table: pa.Table) -> np.ndarray:
        """Function that returns which pairs of a shard are kept, bool [pairs]; shards are numbered from 0. Called by
        several threads."""
        ...


class JointRules:
    """Applies `joint_rules`, one after the other. Each reads all shards once or more; `SHARDS_AT_ONCE` are in memory.

    Args:
        read: returns the pairs, shard by shard, restarting with every call: see `pairs_of`.
        rules: the recipe's.
        documents: number of all documents.
        copies: rows that are copies of earlier documents, int64.
        run_seed: determines which direction of a pair is kept.
    """

    def __init__(
        self, read: Callable[[], Iterable[pa.Table]], rules: Pairs, documents: int, copies: np.ndarray, run_seed: int
    ):
        self._read = read
        self._rules: list[tuple[str, _Rule]] = []
        for name in joint_rules(rules):
            if name == "copy":
                rule: _Rule = _NoCopies(copies, documents)
            elif name == "cap":
                assert rules.max_targets_per_seed is not None
                rule = _SeedCap(rules.max_targets_per_seed)
            elif name == "direction":
                rule = Directions(self.tables, documents, run_seed, mutual=rules.directions == "mutual")
            else:
                assert rules.max_seeds_per_target is not None
                rule = TargetCap(self.tables, documents, rules.max_seeds_per_target)
            self._rules.append((name, rule))

    def tables(self, drop: Callable[[str, int], None] | None = None) -> Iterator[pa.Table]:
        """The pairs that pass all rules so far.

        Args:
            drop: called with the name of each rule and the number of pairs that it drops from a shard.
        """
        rules = tuple(self._rules)

        def kept_of(numbered: tuple[int, pa.Table]) -> tuple[pa.Table, list[tuple[str, int]]]:
            (number, table), dropped = numbered, []
            for name, rule in rules:
                kept = rule.keeps(number, table)
                dropped.append((name, len(table) - int(kept.sum())))
                table = table.filter(kept)
            return table, dropped

        for table, dropped in side_by_side(kept_of, enumerate(self._read()), SHARDS_AT_ONCE):
            if drop is not None:
                for name, pairs in dropped:
                    drop(name, pairs)
            yield table


class _NoCopies:
    """Neither seed document nor target is a copy of an earlier document."""

    def __init__(self, copies: np.ndarray, documents: int):
        self._copy = np.zeros(documents, bool)
        self._copy[copies] = True

    def keeps(self, number: int, table: pa.Table) -> np.ndarray:
        seeds, targets, _ = ranked_columns(table)
        return ~(self._copy[seeds] | self._copy[targets])


class _SeedCap:
    """Keeps the best targets of a seed document; all of its pairs are in one shard."""

    def __init__(self, cap: int):
        self._cap = cap

    def keeps(self, number: int, table: pa.Table) -> np.ndarray:
        seeds, targets, scores = ranked_columns(table)
        order = np.lexsort((targets, -scores, seeds))
        kept = np.empty(len(seeds), bool)
        kept[order] = rank_within(seeds[order]) < self._cap
        return kept
