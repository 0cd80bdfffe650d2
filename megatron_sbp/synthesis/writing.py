"""Writes one shard of raw generations from the plan, the seed documents, and the synthesizer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from megatron_sbp.base import files
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.documents.ids import read_ids
from megatron_sbp.synthesis.generations import generations
from megatron_sbp.synthesis.shard_record import is_written, write_record
from megatron_sbp.synthesis.synthesizer import Writer
from megatron_sbp.synthesis.unfinished import Unfinished
from megatron_sbp.tokenization.indexed import open_indexed


@dataclass(frozen=True)
class FinishedShard:
    """A shard of raw generations, and the digest of everything that determines its texts."""

    path: Path
    identity: str


def write_shard(
    output: Path,
    begin: int,
    end: int,
    *,
    synthesizer: Writer,
    documents: Sequence[Path],
    tokens: Path,
    label: str,
    finished: FinishedShard | None = None,
    min_tokens: int = 0,
    further: Callable[[], str] | None = None,
) -> str:
    """Writes generations `begin` to `end` - 1 to a .jsonl.zst: see `Writer.generate`.

    Every batch is saved next to it immediately, so a restart after a kill resumes after the last one. Once all are
    written, they are replaced with a record of the shard (`shard_record.py`).

    Args:
        output: written atomically.
        begin: first generation.
        end: one past the last.
        synthesizer: its seed determines the order of the seed documents.
        documents: shards of the seed documents, in order.
        tokens: prefix of their IndexedDataset, one sequence per document.
        label: for the progress line.
        finished: a shard that is copied if it has these texts.
        min_tokens: texts with fewer tokens are counted as short.
        further: progress of all workers for the progress line.

    Returns:
        Digest of everything that determines the texts.
    """
    real = open_indexed(tokens)
    names = _names(tuple(documents))
    planned = generations(begin, end, len(real), synthesizer.seed)
    tokens_of = {generation.row: real[generation.row] for generation in planned}
    names_of = {generation.row: names[generation.row].as_py() for generation in planned}
    identity = synthesizer.identity(planned, tokens_of)
    if is_written(output, identity):  # by a process that was killed before recording it
        return identity
    if finished is not None and finished.identity == identity:
        with files.atomic_path(output) as partial:
            shutil.copyfile(finished.path, partial)
        return identity
    with Progress(label, len(planned), "documents", further=further) as progress:
        unfinished = Unfinished(output, identity, min_tokens)
        if unfinished.done:
            progress.found(len(unfinished.done))
            done = f"{len(unfinished.done):,} of {len(planned):,} documents"
            say(f"{label}: {done} were already written by an interrupted run")
        rows = synthesizer.generate(planned, tokens_of, names_of, progress.advance, unfinished)
    files.write_jsonl_zst(output, rows)
    write_record(output, identity, unfinished.tally)
    unfinished.remove()
    return identity


@lru_cache(maxsize=1)
def _names(shards: tuple[Path, ...]) -> pa.ChunkedArray:
    """Ids of all seed documents; read once for all shards of a process."""
    return read_ids(shards)
