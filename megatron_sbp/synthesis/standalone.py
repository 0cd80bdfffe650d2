"""What tools/synthesize.py does: seed documents in, related texts out, without a recipe."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.documents.reading import BadDocument, matching_files, raw_rows, row_of, text_of
from megatron_sbp.synthesis import writing
from megatron_sbp.synthesis.draws import Draw
from megatron_sbp.synthesis.engine import EngineSettings, load_engine
from megatron_sbp.tokenization.tokenizer import load_tokenizer

DRAWS_AT_ONCE = 4096
"""Draws from which batches are cut; the unit of work, as `synthesis.draws_per_shard` is in a run."""


def synthesize(
    checkpoint: Path,
    inputs: list[str],
    output: Path,
    *,
    text_field: str = "text",
    id_field: str | None = None,
    draws_per_document: int = 1,
    max_seed_tokens: int,
    max_new_tokens: int,
    seed_cut: Literal["head", "tail"] = "tail",
    temperature: float = 1.0,
    top_p: float = 0.9,
    seed: int = 1,
    engine: Literal["transformers", "vllm"] = "transformers",
    batch_size: int = 64,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> dict[str, int]:
    """Writes `draws_per_document` texts for every seed document, in the order of the documents.

    Args:
        checkpoint: Hugging Face checkpoint with the tokenizer of a run in its folder.
        inputs: files or patterns relative to the current folder: .jsonl, .jsonl.gz, .jsonl.zst, .parquet.
        output: .jsonl.zst, written atomically.
        text_field: of the seed document.
        id_field: of its id; None numbers the documents.
        others: as the recipe's keys of these names.

    Returns:
        seed_documents, documents, tokens (end-of-document included), finished.

    Raises:
        InputError: unreadable or bad rows, a checkpoint or tokenizer that does not load.
    """
    tokenizer = load_tokenizer(checkpoint)
    settings = EngineSettings(
        checkpoint=checkpoint,
        weights=weights_digest(checkpoint),
        end_of_document=tokenizer.end_of_document,
        forbidden=(tokenizer.padding, tokenizer.separator),
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        precision=precision,
        device=device,
    )
    writer = load_engine(engine, settings)
    counts = {"seed_documents": 0, "documents": 0, "tokens": 0, "finished": 0}

    def rows() -> Iterator[dict[str, Any]]:
        documents = enumerate(_documents(inputs, text_field, id_field))
        with Progress("synthesize", None, "documents") as progress:
            while some := list(itertools.islice(documents, max(1, DRAWS_AT_ONCE // draws_per_document))):
                tokens = tokenizer.encode_batch([text for _, (_, text) in some])
                names = {row: name for row, (name, _) in some}
                prompts = {
                    row: writing.prompt_of(np.array(ids, np.int64), tokenizer, max_seed_tokens, seed_cut)
                    for (row, _), ids in zip(some, tokens, strict=True)
                }
                planned = [Draw(row, number) for row in names for number in range(draws_per_document)]
                texts = writing.write_all(
                    writer, planned, [prompts[draw.row] for draw in planned], batch_size, progress.advance
                )
                counts["seed_documents"] += len(some)
                for draw, written in zip(planned, texts, strict=True):
                    row = writing.row_of_draft(draw, written, names[draw.row], tokenizer, settings)
                    counts["documents"] += 1
                    counts["tokens"] += row["tokens"]
                    counts["finished"] += row["finished"]
                    yield row

    files.write_jsonl_zst(output, rows())
    return counts


def weights_digest(checkpoint: Path) -> str:
    """Digest of a checkpoint's weights: the one that the export wrote down, or one of the files.

    Raises:
        InputError: there are no weights.
    """
    provenance = checkpoint / "provenance.json"
    if provenance.exists():
        return files.read_json(provenance)["weights_sha256"]
    weights = sorted(checkpoint.glob("*.safetensors"))
    if not weights:
        raise InputError("holds no weights (*.safetensors)", file=checkpoint)
    return files.digest([files.sha256(file) for file in weights])


def _documents(inputs: list[str], text_field: str, id_field: str | None) -> Iterator[tuple[str, str]]:
    """Id and text of every row; rows without text are left out."""
    fields = [text_field] if id_field is None else [text_field, id_field]
    number = 0
    for path in matching_files(inputs, Path.cwd()):
        for line, raw in raw_rows(path, fields, lambda _: None):
            try:
                row = row_of(raw)
                text = text_of(row, text_field)
                name = str(number) if id_field is None else text_of(row, id_field)
            except BadDocument as bad:
                raise InputError(bad.reason, file=path, line=line, key=bad.key) from bad
            number += 1
            if text.strip():
                yield name, text
    if not number:
        raise InputError("no seed document in the inputs")
