"""Files of pairs to IndexedDatasets: rows of a tokenized dataset, or texts from another pipeline."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.documents.foreign import OnBad, TextRows
from megatron_sbp.tokenization.indexed import IndexedTokens, flatten, open_indexed
from megatron_sbp.tokenization.pairs import PairLimits, pair_writer, write_pairs
from megatron_sbp.tokenization.tokenizer import TextTokenizer

_PAIRS_PER_BATCH = 512


class NoPairs(InputError):
    """A file of pairs has no rows."""


def tokenize_pairs(
    pairs: Path,
    documents: Path,
    output: Path,
    tokenizer: TextTokenizer,
    limits: PairLimits,
    *,
    label: str = "tokenize-pairs",
) -> dict[str, int | float]:
    """Writes OUTPUT.bin and OUTPUT.idx: per pair one document of two sequences, seed and target (see `pair_writer`).

    Args:
        pairs: Parquet file with the columns seed and target: row numbers of documents, int64.
        documents: prefix of the tokenized documents.
        output: prefix of the dataset.
        tokenizer: the one that the documents were tokenized with.
        limits: of both halves.
        label: of the progress line.

    Returns:
        `PairCounts.to_dict`.

    Raises:
        NoPairs: the file has no rows.
    """
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(pairs, columns=["seed", "target"])
    if not table.num_rows:
        raise NoPairs("has no pairs", file=pairs)
    with Progress(label, table.num_rows, "pairs") as progress:
        counts = write_pairs(
            output,
            open_indexed(documents),
            table["seed"].to_numpy(),
            table["target"].to_numpy(),
            limits,
            tokenizer.starts_character,
            tokenizer.end_of_document,
            progress.advance,
        )
    return counts.to_dict()


def preprocess_pairs(
    inputs: list[str],
    output: Path,
    tokenizer: TextTokenizer,
    limits: PairLimits,
    seed_field: str = "seed",
    target_field: str = "target",
    bad_documents: OnBad = "fatal",
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

    Raises:
        InputError: unreadable files, bad rows, no pair at all.
    """
    rows = TextRows(inputs, [seed_field, target_field], (), bad_documents)
    closing, dtype = tokenizer.end_of_document, tokenizer.dtype
    with pair_writer(output, dtype, limits, tokenizer.starts_character, closing) as writer:
        for batch in itertools.batched(rows, _PAIRS_PER_BATCH):
            texts = [row[seed_field] for row in batch] + [row[target_field] for row in batch]
            tokens, lengths = flatten(tokenizer.encode_batch(texts), closing, dtype)
            starts = lengths.cumsum(dtype=np.int64) - lengths
            both = IndexedTokens(tokens, lengths, starts, np.arange(len(lengths) + 1))
            seeds = np.arange(len(batch))
            writer.add(both, seeds, seeds + len(batch))
    return {**writer.counts.to_dict(), "empty": rows.empty, "bad": rows.bad}
