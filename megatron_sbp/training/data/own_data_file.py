"""Data files for people who start the trainer themselves: what tools/make_data_file.py does."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer
from megatron_sbp.training.data.blend_file import blend
from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.data.planned import packed_samples

_LOOKED_AT = 1 << 24
"""Tokens of a dataset that are compared with the vocabulary."""


def write_documents(
    output: Path,
    tokenizer: TextTokenizer,
    *,
    train_samples: int,
    repeated: Path,
    once: dict[Path, int],
    valid: Path,
    valid_samples: int,
    sequence_length: int,
    seed: int = 1,
) -> dict[Path, int]:
    """Writes the data file of a model that reads documents.

    Args:
        output: .json, for --sbp-data.
        tokenizer: that of the datasets, with all roles.
        train_samples: training sequences in all.
        repeated: prefix of the dataset that fills what the others leave, repeated as often as it takes.
        once: samples of datasets that are read once by prefix; 0 requests all that a dataset holds.
        valid: prefix of the held-out documents.
        valid_samples: sequences of one evaluation: --eval-iters times the global batch size.
        sequence_length: tokens of a sequence.
        seed: of the order.

    Returns:
        Samples by prefix.

    Raises:
        InputError: as `blend`, a number that is not positive, or a dataset that is not of documents, or not of this
            tokenizer.
    """
    _check_numbers(sequence_length, valid_samples)
    for prefix in (repeated, *once, valid):
        _check_dataset(prefix, "documents", tokenizer)
    samples = blend(train_samples, repeated, once, sequence_length)
    train = _sources(output, samples, once)
    _write(output, "documents", train, valid, valid_samples, sequence_length, seed, tokenizer)
    return samples


def write_pairs(
    output: Path,
    tokenizer: TextTokenizer,
    *,
    pairs: Path,
    epochs: float,
    global_batch_size: int,
    valid: Path,
    valid_samples: int,
    sequence_length: int,
    seed: int = 1,
) -> dict[Path, int]:
    """Writes the data file of a synthesizer, which reads packed pairs. Their packing is in `cache` beside it.

    Args:
        output: .json, for --sbp-data.
        tokenizer: that of the datasets, with all roles.
        pairs: prefix of the dataset.
        epochs: passes over the pairs.
        global_batch_size: sequences, to which the passes are rounded up.
        others: as for `write_documents`, `valid` of pairs.

    Returns:
        Samples by prefix: packed sequences.

    Raises:
        InputError: a pair that does not fit into a sequence, a number that is not positive, or a dataset that is not of
            pairs, or not of this tokenizer.
    """
    for key, value in (("epochs", epochs), ("global batch size", global_batch_size)):
        if not 0 < value < math.inf:
            raise InputError(f"must be positive, not {value}", key=key)
    _check_numbers(sequence_length, valid_samples)
    for prefix in (pairs, valid):
        _check_dataset(prefix, "pairs", tokenizer)
    count = packed_samples(pairs, output.parent / "cache", sequence_length, seed, epochs, global_batch_size)
    train = _sources(output, {pairs: count}, ())
    _write(output, "pairs", train, valid, valid_samples, sequence_length, seed, tokenizer)
    return {pairs: count}


def _sources(output: Path, samples: dict[Path, int], once: Collection[Path]) -> list[Source]:
    """Each under the last component of its prefix, or under all of it where two end in the same."""
    ends = [prefix.name for prefix in samples]
    return [
        Source(
            prefix.name if ends.count(prefix.name) == 1 else str(prefix), _beside(output, prefix), count, prefix in once
        )
        for prefix, count in samples.items()
    ]


def _write(
    output: Path,
    kind: Literal["documents", "pairs"],
    train: list[Source],
    valid: Path,
    valid_samples: int,
    sequence_length: int,
    seed: int,
    tokenizer: TextTokenizer,
) -> None:
    DataFile(
        kind=kind,
        train=train,
        valid=Source("valid", _beside(output, valid), valid_samples),
        sequence_length=sequence_length,
        seed=seed,
        epochs="strict",
        end_of_document=tokenizer.end_of_document,
        padding=tokenizer.padding,
        separator=tokenizer.separator,
    ).write(output)


def _check_dataset(prefix: Path, kind: Literal["documents", "pairs"], tokenizer: TextTokenizer) -> None:
    """Refuses a dataset of the other kind, or of another tokenizer as far as its beginning shows that."""
    dataset = open_indexed(prefix)
    held = np.diff(dataset.bounds)
    if len(held) and (kind == "pairs") != bool(np.all(held == 2)):
        other = "pairs" if kind == "documents" else "documents"
        raise InputError(f"is a dataset of {other}, not of {kind}", file=prefix)
    highest = int(dataset.tokens[:_LOOKED_AT].max(initial=0))
    if highest >= tokenizer.vocab_size:
        raise InputError(
            f"has the token id {highest:,}, but the tokenizer {tokenizer.vocab_size:,} entries: another one made it",
            file=prefix,
        )
    if kind == "documents" and len(dataset):
        ends = [int(dataset[row][-1]) for row in range(min(len(dataset), 100)) if dataset.lengths[row]]
        if tokenizer.end_of_document not in ends:
            token = tokenizer.roles["end_of_document"]
            say(f"warning: {prefix}: none of the first {len(ends)} documents ends with {token}, so they run together")


def _check_numbers(sequence_length: int, valid_samples: int) -> None:
    for key, value in (("sequence length", sequence_length), ("valid samples", valid_samples)):
        if value <= 0:
            raise InputError(f"must be positive, not {value}", key=key)


def _beside(output: Path, prefix: Path) -> str:
    return os.path.relpath(prefix, output.parent)
