"""Data files for people who start the trainer themselves: what tools/make_data_file.py does."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.checkpoint.model_folder import CACHE
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer
from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.data.megatron_blend_file import blend, check_samples, check_tokens
from megatron_sbp.training.data.planned import packed_samples

type Kind = Literal["documents", "pairs"]

_LOOKED_AT = 1 << 24
"""Tokens of a dataset that are compared with the vocabulary."""


@dataclass(frozen=True)
class Common:
    """What data files of both kinds say.

    Attributes:
        tokenizer: that of the datasets, with all roles.
        valid: prefix of the held-out documents, or pairs.
        valid_samples: sequences of one evaluation: --eval-iters times the global batch size.
        sequence_length: tokens of a sequence.
        seed: of the order.
    """

    tokenizer: TextTokenizer
    valid: Path
    valid_samples: int
    sequence_length: int
    seed: int = 1


def write_documents(
    output: Path, common: Common, *, train_samples: int, repeated: Path, once: dict[Path, int]
) -> dict[Path, int]:
    """Writes the data file of a model that reads documents.

    Args:
        output: .json, for --sbp-data.
        common: see there.
        train_samples: training sequences in all.
        repeated: prefix of the dataset that fills what the others leave, repeated as often as it takes.
        once: samples of datasets that are read once by prefix; 0 requests all that a dataset holds.

    Returns:
        Samples by prefix.

    Raises:
        InputError: as `blend`, or a dataset that is not of documents, or not of this tokenizer.
    """
    _check("documents", (repeated, *once), common)
    samples = blend(train_samples, repeated, once, common.sequence_length)
    _write(output, "documents", samples, once, common)
    return samples


def write_pairs(output: Path, common: Common, *, pairs: Path, epochs: float, global_batch_size: int) -> dict[Path, int]:
    """Writes the data file of a synthesizer, which reads packed pairs. Their packing is in `cache` beside it.

    Args:
        output: .json, for --sbp-data.
        common: see there.
        pairs: prefix of the dataset.
        epochs: passes over the pairs.
        global_batch_size: sequences, to which the passes are rounded up.

    Returns:
        Samples by prefix: packed sequences.

    Raises:
        InputError: a pair that does not fit into a sequence, a number that is not positive or too large, or a dataset
            that is not of pairs, or not of this tokenizer.
    """
    if not 0 < epochs < math.inf:
        raise InputError(f"must be positive, not {epochs}", key="epochs")
    check_samples("global batch size", global_batch_size, common.sequence_length)
    _check("pairs", (pairs,), common)
    cache = output.parent / CACHE
    count = packed_samples(
        pairs, cache, length=common.sequence_length, seed=common.seed, epochs=epochs, batch=global_batch_size
    )
    check_tokens("epochs", count, common.sequence_length)
    _write(output, "pairs", {pairs: count}, (), common)
    return {pairs: count}


def _write(output: Path, kind: Kind, samples: dict[Path, int], once: Collection[Path], common: Common) -> None:
    """Each source has the last component of its prefix as its name, or all of it where two end in the same."""
    ends = [prefix.name for prefix in samples]

    def source(prefix: Path, name: str, count: int) -> Source:
        return Source(name, os.path.relpath(prefix, output.parent), count, prefix in once)

    DataFile(
        kind=kind,
        train=[
            source(prefix, prefix.name if ends.count(prefix.name) == 1 else str(prefix), count)
            for prefix, count in samples.items()
        ],
        valid=source(common.valid, "valid", common.valid_samples),
        sequence_length=common.sequence_length,
        seed=common.seed,
        epochs="strict",
        end_of_document=common.tokenizer.end_of_document,
        padding=common.tokenizer.padding,
        separator=common.tokenizer.separator,
    ).write(output)


def _check(kind: Kind, prefixes: Sequence[Path], common: Common) -> None:
    check_samples("valid_samples", common.valid_samples, common.sequence_length)
    for prefix in (*prefixes, common.valid):
        _check_dataset(prefix, kind, common.tokenizer)


def _check_dataset(prefix: Path, kind: Kind, tokenizer: TextTokenizer) -> None:
    """Refuses a dataset of the other kind, or of another tokenizer as far as its beginning shows that."""
    dataset = open_indexed(prefix)
    held = np.diff(dataset.bounds)
    if len(held) and (kind == "pairs") != bool(np.all(held == 2)):
        other = "pairs" if kind == "documents" else "documents"
        raise InputError(f"is a dataset of {other}, not of {kind}", file=prefix)
    highest = int(dataset.tokens[:_LOOKED_AT].max(initial=0))
    if highest >= tokenizer.vocab_size:
        raise InputError(
            f"has the token id {highest:,}, but the tokenizer has {tokenizer.vocab_size:,} entries: the dataset was "
            "made with another tokenizer",
            file=prefix,
        )
    if kind == "documents" and len(dataset):
        ends = [int(dataset[row][-1]) for row in range(min(len(dataset), 100)) if dataset.lengths[row]]
        if tokenizer.end_of_document not in ends:
            token = tokenizer.roles["end_of_document"]
            told = f"none of the first {len(ends)} documents ends"
            if len(ends) == 1:
                told = "the first document does not end"
            say(f"warning: {prefix}: {told} with {token}, so documents run together")
