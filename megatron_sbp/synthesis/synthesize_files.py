"""Library part of tools/synthesize.py: generates related texts from seed documents, without a recipe."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from megatron_sbp.base import files, outputs
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import CONFIG
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.foreign import Source
from megatron_sbp.documents.unique_ids import check_unique_ids
from megatron_sbp.recipe import Synthesis, make_section
from megatron_sbp.recipe.checks import beyond_context
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.own_tokenizer import check_own_tokenizer
from megatron_sbp.synthesis.synthesizer import Synthesizer
from megatron_sbp.synthesis.unfinished import SUFFIX, Unfinished
from megatron_sbp.tokenization.hugging_face import open_synthesizer_tokenizer
from megatron_sbp.tokenization.tokenizer import TextTokenizer

GENERATIONS_AT_ONCE = 4096
"""Generations from which batches are formed; the unit of work, like `synthesis.generations_per_shard` in a run."""

MOST_PER_DOCUMENT = 1_000_000
"""Generations from one seed document, which are planned in memory."""


def synthesize(
    checkpoint: Path,
    inputs: list[str],
    output: Path,
    *,
    text_field: str = "text",
    id_field: str | None = None,
    generations_per_document: int = 1,
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
    tokenizer_source: str | None = None,
    separator: str | None = None,
    end_of_document: str | None = None,
) -> dict[str, int]:
    """Generates `generations_per_document` texts for every seed document, in document order.

    Args:
        checkpoint: Hugging Face checkpoint of a causal model.
        inputs: files or patterns relative to the current folder: .jsonl, .jsonl.gz, .jsonl.zst, .parquet.
        output: .jsonl.zst, written atomically. A second call after a kill continues from the existing texts; unfinished
            texts of calls with other settings are not touched.
        text_field: of the seed document.
        id_field: of its id; None uses a digest of the text.
        tokenizer_source: see `open_synthesizer_tokenizer`, as for the next two.
        separator: between a seed document and a text, if there is no roles.json.
        end_of_document: token that ends a text.
        others: as the recipe's keys of these names.

    Returns:
        seed_documents, documents, tokens (including end-of-document), finished.

    Raises:
        InputError: unreadable or bad rows, two documents with one id, a checkpoint or tokenizer that does not load, a
            tokenizer of another model, lengths beyond the checkpoint's context, an output that cannot be written.
    """
    if not 1 <= generations_per_document <= MOST_PER_DOCUMENT:
        raise InputError(
            f"must be between 1 and {MOST_PER_DOCUMENT:,}, not {generations_per_document}",
            key="generations_per_document",
        )
    source = Source(inputs, text_field, id_field, skip_empty=True)
    outputs.check_file(output, source.files(), JSONL_ZST)
    tokenizer = open_synthesizer_tokenizer(checkpoint, tokenizer_source, separator, end_of_document)
    _check_prompt(checkpoint, tokenizer, max_seed_tokens, max_new_tokens)
    _check_config(checkpoint, tokenizer, max_seed_tokens, max_new_tokens)
    check_unique_ids(source)
    # Only what `Synthesizer` reads: the number of generations follows from the documents here.
    sampling = make_section(
        Synthesis,
        tokens=1,
        engine=engine,
        temperature=temperature,
        top_p=top_p,
        batch_size=batch_size,
        precision=precision,
    )
    synthesizer = Synthesizer(
        checkpoint,
        tokenizer,
        sampling,
        max_seed_tokens=max_seed_tokens,
        max_new_tokens=max_new_tokens,
        seed_cut=seed_cut,
        seed=seed,
        device=device,
    )
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


def _check_prompt(checkpoint: Path, tokenizer: TextTokenizer, max_seed_tokens: int, max_new_tokens: int) -> None:
    """Rejects lengths that fit only with a one-token separator: a separator text may have more tokens."""
    file = checkpoint / CONFIG
    context = files.read_json(file).get("max_position_embeddings") if file.exists() else None
    around = len(tokenizer.before_text) + len(tokenizer.between)
    if isinstance(context, int) and around > 1 and max_seed_tokens + around + max_new_tokens > context:
        raise InputError(
            f"a seed of {max_seed_tokens}, {around} tokens before and after it (bos, separator) and {max_new_tokens} "
            f"new tokens do not fit into the context of {context} (max_position_embeddings of {checkpoint})",
            key="max_new_tokens",
        )


def _check_config(checkpoint: Path, tokenizer: TextTokenizer, max_seed_tokens: int, max_new_tokens: int) -> None:
    """Rejects a tokenizer of another model, and lengths beyond the model's trained context; in a run, the recipe checks
    the lengths."""
    check_own_tokenizer(checkpoint, tokenizer)
    file = checkpoint / CONFIG
    config = files.read_json(file) if file.exists() else {}
    context = config.get("max_position_embeddings")
    beyond = beyond_context(max_seed_tokens, max_new_tokens, context) if isinstance(context, int) else None
    if beyond:
        raise InputError(f"{beyond} (max_position_embeddings of {checkpoint})", key="max_new_tokens")
