"""Progress of synthesis over all workers, from the files on disk: documents per second, time left, acceptance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base.progress import duration
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.synthesis.shard_record import read_record, record_of
from megatron_sbp.synthesis.tally import Tally, last_tally
from megatron_sbp.synthesis.unfinished import half_written

WINDOW = 600.0
"""Averaging window of the rate before the latest text, in seconds."""
LOOKED_AT = 256
"""Number of latest finished shards whose counts are read: a large run has thousands."""


@dataclass(frozen=True)
class Live:
    """The state of a synthesis."""

    done: int
    """Documents on disk, in finished and half-written shards."""
    planned: int
    rate: float
    """Documents per second over all workers; 0 if unknown."""
    judged: int
    """Documents whose counts were read."""
    passing: int
    """Those that pass `too_short` and `unfinished`."""
    drops_unfinished: bool
    """Whether the filters drop texts without an end."""
    updated: float
    """When the latest text was written, in seconds since the epoch; 0 if unknown."""
    counted: tuple[int, int] | None = None
    """Documents that passed all filters of single texts, and all documents, of the shards that are counted while others
    are written; None where none are."""

    @property
    def seconds_left(self) -> float | None:
        """At the present rate."""
        return (self.planned - self.done) / self.rate if self.rate > 0 else None

    def __str__(self) -> str:
        told = f"{self.done:,} of {self.planned:,} documents ({self.done / max(1, self.planned):.0%})"
        if self.seconds_left is not None:
            told += f", {self.rate:,.1f}/s"
            if self.done < self.planned:
                told += f", {duration(self.seconds_left)} left"
        if self.counted is not None and self.counted[1]:
            passed, documents = self.counted
            told += f"; of {documents:,} in finished shards, {passed / documents:.1%} pass the filters of single texts"
        elif self.judged:
            rules = "too_short and unfinished" if self.drops_unfinished else "too_short"
            told += f"; of {self.judged:,}, {self.passing / self.judged:.1%} pass {rules}"
        return told


def look(
    folder: Path,
    units: Sequence[str],
    documents: int,
    *,
    min_tokens: int,
    drops_unfinished: bool,
    counted: tuple[int, int] | None = None,
) -> Live:
    """Inspects a synthesis folder; reads only file names and the counts of a bounded number of shards.

    Args:
        folder: folder of the shards.
        units: names of the planned shards.
        documents: per shard.
        min_tokens: `filter.min_tokens`; counts made with another value are ignored.
        drops_unfinished: whether the filters drop texts without an end.
        counted: see `Live.counted`.
    """
    planned = {f"{unit}{JSONL_ZST}" for unit in units}
    whole = sorted(planned & {file.name for file in folder.glob(f"[!.]*{JSONL_ZST}")})
    missing = planned.difference(whole)
    parts = [last_tally(file) for name, file in half_written(folder).items() if name in missing]
    records = (read_record(record_of(folder / name)) for name in whole[-LOOKED_AT:])
    halves = [tally for tally in parts if tally is not None]
    known = halves + [record.tally for record in records if record is not None]
    same = [tally for tally in known if tally.min_tokens == min_tokens]
    judged = sum(tally.texts for tally in same)
    dropped = sum(tally.short + (tally.unfinished if drops_unfinished else 0) for tally in same)
    return Live(
        done=len(whole) * documents + sum(tally.texts for tally in halves),
        planned=len(planned) * documents,
        rate=_rate(known),
        judged=judged,
        passing=judged - dropped,
        drops_unfinished=drops_unfinished,
        updated=max((tally.updated for tally in known), default=0.0),
        counted=counted,
    )


def _rate(tallies: Iterable[Tally]) -> float:
    """Total documents per second while at least one worker was writing, over the last ten minutes of writing."""
    spans = [tally for tally in tallies if tally.updated > tally.begun]
    low = max((tally.updated for tally in spans), default=0.0) - WINDOW
    documents = covered = 0.0
    until = low
    for tally in sorted(spans, key=lambda tally: tally.begun):
        inside = max(0.0, tally.updated - max(tally.begun, low))
        documents += tally.fresh * inside / (tally.updated - tally.begun)
        covered += max(0.0, tally.updated - max(tally.begun, until))
        until = max(until, tally.updated)
    return documents / covered if covered else 0.0


class Glances:
    """Reports the progress of all workers for a progress line; polls rarely, since there may be a thousand workers.

    Args:
        look: reads the state.
        every: seconds between two polls.
        share: maximum share of time spent polling.
    """

    def __init__(self, look: Callable[[], Live], every: float = 60.0, share: float = 0.01):
        self._look, self._every, self._share = look, every, share
        self._next, self._told = 0.0, ""

    def __call__(self) -> str:
        begun = time.monotonic()
        if begun >= self._next:
            self._told = f"all workers: {self._look()}"
            ended = time.monotonic()
            self._next = ended + max(self._every, (ended - begun) / self._share)
        return self._told
