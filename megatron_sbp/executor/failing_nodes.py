"""Nodes on which jobs of a run repeatedly ended with faults: later jobs avoid them.

The same fault at the same place of the work counts once: a program that keeps crashing says nothing about the
node that it crashed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from megatron_sbp.executor.job_rows import read_rows
from megatron_sbp.executor.retry import stable
from megatron_sbp.stages import record_names as records


def failing_nodes(faults: Path, limit: int, cluster: str | None = None) -> dict[str, int]:
    """Different faults by node, of nodes with at least `limit` of them.

    Args:
        faults: folder with the faults of every job (JOB.jsonl), as `retry` writes them.
        limit: 0 names no node.
        cluster: whose nodes are meant, if known: a run folder may have been copied from another cluster.
    """
    different = {
        (node, stable(row.get("cause")), str(row.get("progress")))
        for file in sorted(faults.glob(records.FAULT_FILES))
        for row in read_rows(file)
        if isinstance(node := row.get("node"), str) and node and (not cluster or row.get("cluster", cluster) == cluster)
    }
    counts = Counter(node for node, *_ in different)
    return {node: count for node, count in sorted(counts.items()) if 0 < limit <= count}


def excluding(options: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """sbatch options that exclude these nodes: Slurm takes the last --exclude, so they join the user's own."""
    if not nodes:
        return list(options)
    others, own, words = [], [], iter(options)
    for word in words:
        if word in ("--exclude", "-x"):
            own.append(next(words, ""))
        elif word.startswith("--exclude="):
            own.append(word.removeprefix("--exclude="))
        else:
            others.append(word)
    named = dict.fromkeys(filter(None, [*own[-1:], *nodes]))
    return [*others, f"--exclude={','.join(named)}"]
