"""What tools/embed_documents.py and tools/mine_pairs.py do: the same work without a recipe and a run folder."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from megatron_sbp.base import files
from megatron_sbp.base.device import compute_device
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.documents.reading import BadDocument, matching_files, raw_rows, row_of, text_of
from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.pairing.mining import mine_pairs
from megatron_sbp.pairing.neighbors.exact import nearest
from megatron_sbp.pairing.neighbors.recall import measure, sample_rows
from megatron_sbp.pairing.neighbors.scann_engine import ScannIndex, plan
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.recipe import Embedding, Neighbors, Pairs
from megatron_sbp.tokenization.encoding import batches
from megatron_sbp.tokenization.indexed import flatten
from megatron_sbp.tokenization.tokenizer import TextTokenizer

_DOCUMENTS = 16_384
"""Documents that are embedded, and queries that are searched, at a time."""


@dataclass(frozen=True)
class Source:
    """Files of documents; row i of everything made from them is the i-th document.

    Attributes:
        inputs: files or patterns relative to the current folder: .jsonl, .jsonl.gz, .jsonl.zst, .parquet.
        text_field: field of the text.
        id_field: field of a unique text or number; None makes the id from a digest of the text.
    """

    inputs: Sequence[str]
    text_field: str = "text"
    id_field: str | None = None

    def documents(self) -> Iterator[dict[str, str]]:
        """id, text and, where there is one, title of every document. A bad row is an error: it would shift the rest.

        Raises:
            InputError: unreadable files, bad rows, no document at all; names file and line.
        """
        paths = matching_files(list(self.inputs), Path.cwd())
        fields = [self.text_field, *([self.id_field] if self.id_field else [])]
        empty = True
        for path in paths:
            for line, raw in raw_rows(path, fields, lambda _: None):
                try:
                    row = row_of(raw)
                    text = text_of(row, self.text_field)
                    if self.id_field is None:
                        id = hashlib.sha256(text.encode()).hexdigest()[:32]
                    elif self.id_field in row and isinstance(row[self.id_field], int):
                        id = str(row[self.id_field])
                    else:
                        id = text_of(row, self.id_field)
                except BadDocument as bad:
                    raise InputError(bad.reason, file=path, line=line, key=bad.key) from bad
                empty = False
                yield {"id": id, "text": text, **({"title": row["title"]} if "title" in row else {})}
        if empty:
            raise InputError("no document", file=paths[0])


def embed_documents(source: Source, output: Path, settings: Embedding, device: str = "auto") -> dict[str, Any]:
    """Writes the embeddings of all documents to one .npy: float16 [documents, dimensions], unit norm.

    Returns:
        documents, dimensions, max_tokens (as used), model.

    Raises:
        InputError: see `Embedder` and `Source.documents`.
    """
    embedder = Embedder(settings, Path.cwd(), device)
    parts = []
    with Progress("embed", None, "documents") as progress:
        for block in _blocks(source.documents(), _DOCUMENTS):
            first = sum(map(len, parts))
            ids = [row["id"] for row in block]
            vectors = embedder.encode(
                [row["text"] for row in block],
                progress,
                name=lambda place, first=first, ids=ids: f"document {first + place} (id {ids[place]})",
            )
            parts.append(vectors.astype(np.float16))
    with files.atomic_path(output) as partial:
        np.save(partial, np.concatenate(parts))
    return {
        "documents": sum(map(len, parts)),
        "dimensions": embedder.dimensions,
        "max_tokens": embedder.max_tokens,
        "model": settings.model,
    }


def mine(
    source: Source,
    embeddings: Sequence[Path],
    output: Path,
    tokenizer: TextTokenizer,
    neighbors: Neighbors,
    rules: Pairs,
    seed: int = 1,
    device: str = "auto",
) -> dict[str, Any]:
    """Writes pairs to a parquet file (see `mine_pairs`) and their audit beside it, as OUTPUT with .audit.json.

    Args:
        source: the documents. Their tokens are held in memory.
        embeddings: .npy files whose rows, one file after another, are the documents; unit norm.
        output: parquet file.
        tokenizer: the shingles of the near-duplicate rule are made of its tokens.
        neighbors: engine and its settings.
        rules: see there.
        seed: of ScaNN's partitions, of random pairs and of the examples.
        device: of the exact search: auto, cpu or cuda.

    Returns:
        The audit.

    Raises:
        InputError: embeddings and documents differ in number; see `mine_pairs`, `Vectors` and `ScannIndex`.
    """
    vectors = Vectors(embeddings)
    spans, names = _tokens(source, tokenizer)
    if len(vectors) != len(spans):
        raise InputError(f"there are {len(vectors):,} embeddings for {len(spans):,} documents", file=embeddings[0])
    device = compute_device(device)
    rows = sample_rows(len(vectors), neighbors.recall_sample, seed)
    sampled: list[np.ndarray] = []

    def found() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        index = None
        if neighbors.engine == "scann":
            index = ScannIndex(vectors, plan(len(vectors), vectors.dimensions, neighbors, seed))
        for begin in range(0, len(vectors), _DOCUMENTS):
            own = np.arange(begin, min(begin + _DOCUMENTS, len(vectors)), dtype=np.int64)
            queries = vectors.take(own)
            if index is None:
                ids, scores = nearest(queries, own, vectors, neighbors.k, device)
            else:
                ids, scores = index.nearest(queries, own, neighbors.k)
                sampled.append(ids[rows[(rows >= begin) & (rows <= own[-1])] - begin])
            yield ids, scores

    with Progress("pairs", len(vectors), "documents") as progress:
        audit = mine_pairs(found(), spans, names, rules, seed, output, vectors, "given", progress.advance)
    recall = 1.0
    if neighbors.engine == "scann":
        recall = measure(np.concatenate(sampled), rows, vectors, device) if rows.size else None
    result = {
        **audit.summary(),
        "engine": neighbors.engine,
        "k": neighbors.k,
        "recall_at_k": recall,
        **audit.examples(lambda wanted: _some(source, wanted)),
    }
    files.write_json(output.with_suffix(".audit.json"), result)
    say(f"pairs: {audit.kept:,} of {audit.candidates:,} candidates kept")
    return result


def _tokens(source: Source, tokenizer: TextTokenizer) -> tuple[TokenSpans, pa.ChunkedArray]:
    ids: list[str] = []

    def texts() -> Iterator[str]:
        for row in source.documents():
            ids.append(row["id"])
            yield row["text"]

    tokens, lengths = [], []
    with Progress("tokenize", None, "documents") as progress:
        for batch in batches(texts()):
            flat, sizes = flatten(tokenizer.encode_batch(batch), None, tokenizer.dtype)
            tokens.append(flat)
            lengths.append(sizes.astype(np.int64))
            progress.advance(len(batch))
    sizes = np.concatenate(lengths)
    spans = TokenSpans(np.concatenate(tokens), np.cumsum(sizes) - sizes, sizes)
    return spans, pa.chunked_array([pa.array(ids, pa.large_string())])


def _some(source: Source, wanted: set[int]) -> dict[int, dict[str, str]]:
    last = max(wanted, default=-1)
    rows = itertools.islice(enumerate(source.documents()), last + 1)
    return {number: row for number, row in rows if number in wanted}


def _blocks(rows: Iterator[dict[str, str]], size: int) -> Iterator[list[dict[str, str]]]:
    while block := list(itertools.islice(rows, size)):
        yield block
