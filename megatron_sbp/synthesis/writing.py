"""One shard of raw generations, from the plan, the seed documents and the synthesizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from megatron_sbp.base import files
from megatron_sbp.base.progress import Progress
from megatron_sbp.pairing.document_ids import read_ids
from megatron_sbp.synthesis.controls import TokenReplacement
from megatron_sbp.synthesis.draws import draws
from megatron_sbp.synthesis.synthesizer import Synthesizer
from megatron_sbp.tokenization.indexed import open_indexed


def write_shard(
    output: Path,
    begin: int,
    end: int,
    *,
    synthesizer: Synthesizer | TokenReplacement,
    documents: Sequence[Path],
    tokens: Path,
    label: str,
) -> int:
    """Writes the generations from number `begin` to before `end` to a .jsonl.zst: see `Synthesizer.generate`.

    Args:
        output: written atomically.
        begin: first generation.
        end: the one after the last.
        synthesizer: its seed decides which seed documents have their turn when.
        documents: shards of the seed documents, in order.
        tokens: prefix of their IndexedDataset, one sequence per document.
        label: for the progress line.

    Returns:
        The number of rows.
    """
    real = open_indexed(tokens)
    names = _names(tuple(documents))
    planned = draws(begin, end, len(real), synthesizer.seed)
    with Progress(label, len(planned), "documents") as progress:
        rows = synthesizer.generate(
            planned,
            {draw.row: real[draw.row] for draw in planned},
            {draw.row: names[draw.row].as_py() for draw in planned},
            progress.advance,
        )
    return files.write_jsonl_zst(output, rows)


@lru_cache(maxsize=1)
def _names(shards: tuple[Path, ...]) -> pa.ChunkedArray:
    """Ids of all seed documents; read once for all shards that a process writes."""
    return read_ids(shards)
