"""Whether a process may have as many files open as the joining steps of the recipe need."""

from __future__ import annotations

from collections.abc import Iterator

from megatron_sbp.base.open_files import allow_many
from megatron_sbp.doctor.findings import Finding, fail, ok
from megatron_sbp.doctor.subject import Subject

PER_SHARD, OTHERS = 2, 200
"""Files that a joining step maps of every shard, and those that a process has open anyway (modules, sockets)."""

REMEDY = "have the hard limit raised (`ulimit -Hn`), or make fewer shards: documents_per_shard, generations_per_shard"


def check_open_files(subject: Subject) -> Iterator[Finding]:
    """The limit that `sbp` can set for itself here, against the stage with the most shards."""
    if subject.recipe is not None:
        yield enough(allow_many(), {stage: entry["units"] for stage, entry in subject.plan["arrays"].items()})


def enough(limit: int, shards: dict[str, int]) -> Finding:
    """Whether a limit on open files is enough for stages with these numbers of shards."""
    most = max(shards, key=lambda stage: shards[stage])
    needed = PER_SHARD * shards[most] + OTHERS
    text = f"a process may open {limit:,}; {most} has {shards[most]:,} shards, which takes about {needed:,}"
    return ok("open files", text) if needed <= limit else fail("open files", text, REMEDY)
