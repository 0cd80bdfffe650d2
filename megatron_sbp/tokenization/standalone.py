"""What tools/preprocess_*.py do: files of text in, IndexedDatasets out, without a recipe."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.documents.reading import BadDocument, matching_files, raw_rows, row_of, text_of
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.indexed import IndexedTokens, flatten
from megatron_sbp.tokenization.pairs import PairLimits, pair_writer
from megatron_sbp.tokenization.tokenizer import TextTokenizer

Bad = Literal["fatal", "skip"]

_PAIRS_PER_BATCH = 512


def preprocess_documents(
    inputs: list[str],
    output: Path,
    tokenizer: TextTokenizer,
    text_field: str = "text",
    bad_documents: Bad = "fatal",
    end_of_document: bool = True,
) -> dict[str, Any]:
    """Writes OUTPUT.bin and OUTPUT.idx: one document of one sequence per row, in the order of the files and rows.

    Args:
        inputs: files or patterns relative to the current folder: .jsonl, .jsonl.gz, .jsonl.zst, .parquet.
        output: prefix of the dataset.
        tokenizer: `open_tokenizer`.
        text_field: field of the text. Rows whose text is empty or white space are left out.
        bad_documents: whether a bad row stops the work or is counted.
        end_of_document: whether every document is closed by that token.

    Returns:
        documents, tokens, bytes, characters, empty, bad.

    Raises:
        InputError: unreadable files, bad rows, no document at all.
    """
    rows = _Rows(inputs, [text_field], [], bad_documents)
    counts = write_texts((row[text_field] for row in rows), output, tokenizer, end_of_document)
    return {**counts.__dict__, "empty": rows.empty, "bad": rows.bad}


def preprocess_synthetic(
    inputs: list[str], output: Path, tokenizer: TextTokenizer, need_tokens: int | None = None
) -> dict[str, Any]:
    """Writes OUTPUT.bin and OUTPUT.idx from synthetic documents (RUN/synthetic/NNNNN.jsonl.zst).

    Args:
        inputs: as for `preprocess_documents`; rows have `text`, `seed_id` and `synthesizer`.
        output: prefix of the dataset.
        tokenizer: `open_tokenizer`.
        need_tokens: tokens below which the result is an error, or None.

    Returns:
        As `preprocess_documents`, and: seed_documents (different ones), synthesizers (documents per digest).

    Raises:
        InputError: bad rows; fewer tokens than needed (the dataset is written nevertheless).
    """
    rows = _Rows(inputs, ["text"], ["seed_id", "synthesizer"], "fatal")
    seeds: set[str] = set()
    synthesizers: Counter[str] = Counter()

    def texts() -> Iterator[str]:
        for row in rows:
            seeds.add(row["seed_id"])
            synthesizers[row["synthesizer"]] += 1
            yield row["text"]

    counts = write_texts(texts(), output, tokenizer)
    if need_tokens is not None and counts.tokens < need_tokens:
        raise InputError(f"{need_tokens:,} tokens are needed, but there are {counts.tokens:,}", file=output)
    parents = {"seed_documents": len(seeds), "synthesizers": dict(sorted(synthesizers.items()))}
    return {**counts.__dict__, "empty": rows.empty, "bad": rows.bad, **parents}


def preprocess_pairs(
    inputs: list[str],
    output: Path,
    tokenizer: TextTokenizer,
    limits: PairLimits,
    seed_field: str = "seed",
    target_field: str = "target",
    bad_documents: Bad = "fatal",
) -> dict[str, Any]:
    """Writes OUTPUT.bin and OUTPUT.idx: per row one document of two sequences, seed and target (see `pair_writer`).

    Args:
        inputs: as for `preprocess_documents`.
        output: prefix of the dataset.
        tokenizer: `open_tokenizer`.
        limits: of both halves.
        seed_field: field of the text conditioned on.
        target_field: field of the text to be written. Rows where one of the two is empty are left out.
        bad_documents: whether a bad row stops the work or is counted.

    Returns:
        What tokens/pairs_audit.json has, and: empty, bad.
    """
    rows = _Rows(inputs, [seed_field, target_field], [], bad_documents)
    closing, dtype = tokenizer.end_of_document, tokenizer.dtype
    with pair_writer(output, dtype, limits, tokenizer.starts_character, closing) as writer:
        for batch in _lists(rows, _PAIRS_PER_BATCH):
            texts = [row[seed_field] for row in batch] + [row[target_field] for row in batch]
            tokens, lengths = flatten(tokenizer.encode_batch(texts), closing, dtype)
            starts = lengths.cumsum(dtype=np.int64) - lengths
            both = IndexedTokens(tokens, lengths, starts, np.arange(len(lengths) + 1))
            seeds = np.arange(len(batch))
            writer.add(both, seeds, seeds + len(batch))
    return {**writer.counts.to_dict(), "empty": rows.empty, "bad": rows.bad}


class _Rows:
    """Rows of all files, in order; bad ones, and those in which a text is empty, counted and left out."""

    def __init__(self, inputs: list[str], texts: list[str], others: list[str], bad_documents: Bad):
        self._files = matching_files(inputs, Path.cwd())
        self._texts, self._others, self._fatal = texts, others, bad_documents == "fatal"
        self.empty = self.bad = self._given = 0

    def __iter__(self) -> Iterator[dict[str, str]]:
        size = sum(path.stat().st_size for path in self._files)
        with Progress("reading", size, "bytes") as progress:
            for path in self._files:
                for line, raw in raw_rows(path, [*self._texts, *self._others], progress.advance):
                    try:
                        row = row_of(raw)
                        wanted = {name: text_of(row, name) for name in [*self._texts, *self._others]}
                    except BadDocument as bad:
                        if self._fatal:
                            raise InputError(bad.reason, file=path, line=line, key=bad.key) from bad
                        self.bad += 1
                        continue
                    if all(wanted[name].strip() for name in self._texts):
                        self._given += 1
                        yield wanted
                    else:
                        self.empty += 1
        if not self._given:
            raise InputError(f"no usable row ({self.empty:,} empty, {self.bad:,} bad)", file=self._files[0])


def _lists(rows: Iterable[dict[str, str]], size: int) -> Iterator[list[dict[str, str]]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, size)):
        yield batch
