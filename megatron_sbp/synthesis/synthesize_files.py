"""Library part of tools/synthesize.py: generates related texts from seed documents, without a recipe."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from megatron_sbp.base import files, outputs
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.foreign import Source
from megatron_sbp.documents.unique_ids import check_unique_ids
from megatron_sbp.recipe import Synthesis
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.own_tokenizer import check_own_tokenizer
from megatron_sbp.synthesis.synthesizer import Synthesizer
from megatron_sbp.synthesis.text_limits import TextLimits
from megatron_sbp.synthesis.unfinished import SUFFIX, Unfinished
from megatron_sbp.tokenization.tokenizer import TextTokenizer

GENERATIONS_AT_ONCE = 4096
"""Generations from which batches are formed; the unit of work, like `synthesis.generations_per_shard` in a run."""

MOST_PER_DOCUMENT = 1_000_000
"""Generations from one seed document, which are planned in memory."""


def synthesize(
    checkpoint: Path,
    source: Source,
    output: Path,
    *,
    tokenizer: TextTokenizer,
    settings: Synthesis,
    limits: TextLimits,
    generations_per_document: int = 1,
    seed: int = 1,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> dict[str, int]:
    """Generates `generations_per_document` texts for every seed document, in document order.

    Args:
        checkpoint: Hugging Face checkpoint of a causal model.
        source: the seed documents; empty ones are left out.
        output: .jsonl.zst, written atomically. A second call after a kill continues from the existing texts; unfinished
            texts of calls with other settings are not touched.
        tokenizer: of the checkpoint: see `open_synthesizer_tokenizer`.
        settings: those that `Synthesizer` reads; the number of generations follows from the documents, not from
            `tokens`.
        limits: of seed documents and texts.
        generations_per_document: texts for each.
        seed: of the random streams.
        device: auto, cpu or cuda.

    Returns:
        seed_documents, documents, tokens (including end-of-document), finished.

    Raises:
        InputError: unreadable or bad rows, two documents with one id, a checkpoint that does not load, a tokenizer of
            another model, lengths beyond the checkpoint's context, an output that cannot be written.
    """
    if not 1 <= generations_per_document <= MOST_PER_DOCUMENT:
        raise InputError(
            f"must be between 1 and {MOST_PER_DOCUMENT:,}, not {generations_per_document}",
            key="generations_per_document",
        )
    source = replace(source, skip_empty=True)
    outputs.check_file(output, source.files(), JSONL_ZST)
    check_own_tokenizer(checkpoint, tokenizer)
    limits.check_context(checkpoint, tokenizer)
    check_unique_ids(source)
    synthesizer = Synthesizer(checkpoint, tokenizer, settings, limits, seed=seed, device=device)
    documents = enumerate(source.documents())
    kept: list[Path] = []
    counts = {"seed_documents": 0, "documents": 0, "tokens": 0, "finished": 0}

    def rows() -> Iterator[JsonObject]:
        with Progress("synthesize", None, "documents") as progress:
            blocks = itertools.batched(documents, max(1, GENERATIONS_AT_ONCE // generations_per_document))
            for block, some in enumerate(blocks):
                encoded = synthesizer.tokenizer.encode_batch([document.text for _, document in some])
                names = {row: document.id for row, document in some}
                tokens = {row: np.array(ids, np.int64) for row, ids in zip(names, encoded, strict=True)}
                planned = [Generation(row, number) for row in names for number in range(generations_per_document)]
                counts["seed_documents"] += len(some)
                identity = synthesizer.identity(planned, tokens)
                unfinished = Unfinished(_block_of(output, f"{block:06d}-{identity[:12]}"), identity)
                kept.append(unfinished.file)
                progress.found(len(unfinished.done))
                for row in synthesizer.generate(planned, tokens, names, progress.advance, unfinished):
                    counts["documents"] += 1
                    counts["tokens"] += row["tokens"]
                    counts["finished"] += row["finished"]
                    yield row

    files.write_jsonl_zst(output, rows())
    for file in kept:
        file.unlink(missing_ok=True)
    left = sorted(output.parent.glob(f".{glob.escape(_block_of(output, '').name)}*{SUFFIX}"))
    if left:
        more = f" and {len(left) - 1} more files" if len(left) > 1 else ""
        say(f"unfinished texts of calls with other settings or inputs are kept in {left[0]}{more}")
    return counts


def _block_of(output: Path, number: str) -> Path:
    """Identity under which the texts of a block are stored in a hidden file until it is complete."""
    return output.with_name(f"{output.name}-{number}")
