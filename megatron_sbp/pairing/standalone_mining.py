"""What tools/embed_documents.py and tools/mine_pairs.py do: the same work without a recipe and a run folder."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from megatron_sbp.base import files, outputs
from megatron_sbp.base.device import compute_device
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.field_values import digest_of
from megatron_sbp.documents.foreign import Source
from megatron_sbp.documents.unique_ids import check_unique_ids
from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.document_order import DocumentOrder, OrderDigest, beside
from megatron_sbp.pairing.embedded_blocks import embed_in_blocks
from megatron_sbp.pairing.embedders import open_embedder
from megatron_sbp.pairing.field_rules import FieldRules, compared_fields, field_rules
from megatron_sbp.pairing.neighbors.recall import measure, measured_rows
from megatron_sbp.pairing.neighbors.recall_figures import recall_above
from megatron_sbp.pairing.neighbors.search import Search
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.pairing.pair_writing import mine_pairs
from megatron_sbp.pairing.parquet_vectors import write_in_order
from megatron_sbp.recipe import Embedding, Neighbors, Pairs
from megatron_sbp.tokenization.encoding import batches
from megatron_sbp.tokenization.indexed import flatten
from megatron_sbp.tokenization.tokenizer import TextTokenizer

_DOCUMENTS = 16_384
"""Documents that are embedded at a time."""


def embed_documents(source: Source, output: Path, settings: Embedding, device: str = "auto") -> JsonObject:
    """Writes the embeddings of all documents to one .npy: float16 [documents, dimensions], unit norm.

    A digest of the documents, with the model, is written beside it: see `document_order`.

    Returns:
        documents, dimensions, max_tokens (as used), model.

    Raises:
        InputError: an output that cannot be written; see `open_embedder` and `Source.documents`.
    """
    outputs.check_file(output, source.files(), ".npy")
    outputs.check_file(beside(output), source.files())
    embedder = open_embedder(settings.engine, settings, Path.cwd(), device)
    digest = OrderDigest()

    def noted() -> Iterator[dict[str, str]]:
        for document in source.documents():
            digest.add(document)
            yield {"id": document.id, "text": document.text}

    with Progress("embed", None, "documents") as progress:
        count = embed_in_blocks(itertools.batched(noted(), _DOCUMENTS), output, embedder, Path.cwd(), progress)
    files.write_json(beside(output), {"model": settings.model, **digest.as_dict(source.id_field is not None)})
    return {
        "documents": count,
        "dimensions": embedder.dimensions,
        "max_tokens": embedder.max_tokens,
        "model": settings.model,
    }


def mine(
    source: Source,
    embeddings: Sequence[Path] | Embedding,
    output: Path,
    *,
    tokenizer: TextTokenizer,
    neighbors: Neighbors,
    rules: Pairs,
    seed: int = 1,
    device: str = "auto",
    model: str | None = None,
) -> JsonObject:
    """Writes pairs to a parquet file (see `mine_pairs`) and their audit beside it, as OUTPUT with .audit.json.

    Args:
        source: the documents, with the fields that are compared among its optional ones. Their tokens are in memory.
        embeddings: .npy files whose rows, one file after another, are the documents, or .parquet files with their ids
            (see `parquet_vectors`); unit norm. Or how to make them: they are then written beside the output, as OUTPUT
            with .embeddings.npy.
        output: .parquet.
        tokenizer: the shingles of the near-duplicate rule are made of its tokens.
        neighbors: engine and its settings.
        rules: see there.
        seed: of ScaNN's partitions, of random pairs and of the examples.
        device: of the exact search and of the embedder: auto, cpu or cuda.
        model: that given embeddings must be of, where their files say so; None takes any.

    Returns:
        The audit.

    Raises:
        InputError: an output that cannot be written, two documents with one id, a compared field that no document has,
            embeddings and documents that differ in number or, as far as their files say, in order; embeddings of
            another model; see `embed_documents`, `mine_pairs`, `Vectors`, `write_in_order` and `Search`.
    """
    read = [*source.files(), *([] if isinstance(embeddings, Embedding) else embeddings)]
    outputs.check_file(output, read, ".parquet")
    audit_file = output.with_suffix(".audit.json")
    outputs.check_file(audit_file, read)
    source.check_fields(compared_fields(rules))
    check_unique_ids(source)
    if isinstance(embeddings, Embedding):
        made = output.with_suffix(".embeddings.npy")
        embed_documents(source, made, embeddings, device)
        say(f"embed: done; --embeddings {made} reuses these vectors")
        embeddings = [made]
    temporary = files.process_folder(output.with_name(f".{output.name}.vectors"))
    try:
        result = _mine(
            source,
            embeddings,
            temporary,
            output,
            tokenizer=tokenizer,
            neighbors=neighbors,
            rules=rules,
            seed=seed,
            device=device,
            model=model,
        )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # not there, or another process has its own in it
            temporary.parent.rmdir()
    files.write_json(audit_file, result)
    return result


def _mine(
    source: Source,
    embeddings: Sequence[Path],
    temporary: Path,
    output: Path,
    *,
    tokenizer: TextTokenizer,
    neighbors: Neighbors,
    rules: Pairs,
    seed: int,
    device: str,
    model: str | None,
) -> JsonObject:
    """Pairs of documents whose embeddings are there; the audit. See `mine`."""
    order = DocumentOrder(embeddings, model)
    tables = [file for file in embeddings if file.suffix == ".parquet"]
    if tables and len(tables) < len(embeddings):
        raise InputError(f"{tables[0]} is a parquet file, and others are not", key="--embeddings")
    if tables and source.id_field is None:
        raise InputError("is needed: parquet files of embeddings name documents by their ids", key="--id-field")
    if tables:
        spans, names, fields = _tokens(source, tokenizer, rules)
        vectors = Vectors(write_in_order(tables, names, temporary))
    else:
        vectors = Vectors(embeddings)
        order.check_lengths(vectors)
        spans, names, fields = _tokens(source, tokenizer, rules, order)
        if len(vectors) != len(spans):
            raise InputError(f"there are {len(vectors):,} embeddings for {len(spans):,} documents", file=embeddings[0])
        order.check(source.id_field is not None)
    vectors.document_id = lambda row: str(names[row])
    search = Search(vectors, neighbors, seed=seed, device=device)
    rows = measured_rows(len(vectors), neighbors, seed)
    sampled: list[np.ndarray] = []

    def found() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        begin = 0
        for ids, scores in search.blocks():
            sampled.append(ids[rows[(rows >= begin) & (rows < begin + len(ids))] - begin])
            begin += len(ids)
            yield ids, scores

    with Progress("pairs", len(vectors), "documents") as progress:
        audit = mine_pairs(
            found(),
            spans,
            fields,
            names,
            rules,
            run_seed=seed,
            output=output,
            vectors=vectors,
            split="given",
            advance=progress.advance,
        )
    recall = None
    if rows.size:
        place = None if neighbors.engine == "exact" else compute_device(device)
        recall = measure(np.concatenate(sampled), rows, vectors, place)
    say(f"pairs: {audit.kept:,} of {audit.candidates:,} candidates kept")
    return {
        **audit.summary(),
        "engine": neighbors.engine,
        "k": neighbors.k,
        "recall_at_k": None if recall is None else recall.at_k,
        "recall_above_alpha": None if recall is None else recall_above(recall.by_similarity(), rules.alpha),
        **audit.examples(lambda wanted: _some(source, wanted)),
    }


def _tokens(
    source: Source, tokenizer: TextTokenizer, rules: Pairs, order: DocumentOrder | None = None
) -> tuple[TokenSpans, pa.ChunkedArray, FieldRules]:
    """Tokens, ids and compared fields of all documents, whose order is noted."""
    ids: list[str] = []
    compared, values = compared_fields(rules), array("Q")

    def texts() -> Iterator[str]:
        for document in source.documents():
            ids.append(document.id)
            if order is not None:
                order.add(document)
            values.extend(digest_of(document.kept.get(field)) for field in compared)
            yield document.text

    tokens, lengths = [], []
    with Progress("tokenize", None, "documents") as progress:
        for batch in batches(texts(), len):
            flat, sizes = flatten(tokenizer.encode_batch(batch), None, tokenizer.dtype)
            tokens.append(flat)
            lengths.append(sizes.astype(np.int64))
            progress.advance(len(batch))
    sizes = np.concatenate(lengths)
    spans = TokenSpans(np.concatenate(tokens), np.cumsum(sizes) - sizes, sizes)
    names = pa.chunked_array([pa.array(ids, pa.large_string())])
    return spans, names, field_rules(rules, np.array(values, np.uint64).reshape(len(ids), len(compared)).T)


def _some(source: Source, wanted: set[int]) -> dict[int, JsonObject]:
    """Some documents by row: id, text and, if there is one, title."""
    documents = itertools.islice(enumerate(source.documents()), max(wanted, default=-1) + 1)
    return {row: document.as_dict() for row, document in documents if row in wanted}
