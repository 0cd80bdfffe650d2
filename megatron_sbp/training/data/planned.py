"""Derives a training run's data file from the recipe: its datasets and the number of samples of each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint.model_folder import CACHE, DATA
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import Recipe
from megatron_sbp.tokenization.indexed import open_lengths
from megatron_sbp.tokenization.tokenizer import load_tokenizer
from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.data.index_cache import IndexCache
from megatron_sbp.training.data.packing import shared_packing
from megatron_sbp.training.data.pair_lengths import pair_lengths
from megatron_sbp.training.flags import evaluation_batches


def write_data_file(
    recipe: Recipe, training: str, *, folder: Path, datasets: Mapping[str, Path], tokenizer: Path
) -> int:
    """Writes FOLDER/data.json, with dataset paths relative to `folder`.

    Args:
        recipe: the recipe.
        training: an arm, or "synthesizer".
        folder: the training run's folder. The packing of the synthesizer's pairs stays in FOLDER/cache, for the ranks.
        datasets: prefixes of the IndexedDatasets by name: real, oracle, synthetic, valid; pairs, valid_pairs.
        tokenizer: the tokenizer's folder.

    Returns:
        Training sequences planned.

    Raises:
        InputError: a pair does not fit into a training sequence.
    """
    roles = load_tokenizer(tokenizer)

    def source(name: str, samples: int) -> Source:
        return Source(name, os.path.relpath(datasets[name], folder), samples, once=name == "synthetic")

    pairs = training == "synthesizer"
    section = recipe.tuning if pairs else recipe.training
    counts = (
        {"pairs": pair_samples(recipe, datasets["pairs"], folder / CACHE)}
        if pairs
        else {name: count for name, count in ledger.arm_samples(recipe, training).items() if count}
    )
    synthetic_first = not pairs and recipe.arms[training].order == "synthetic_first"
    if synthetic_first:
        counts = dict(sorted(counts.items(), key=lambda item: item[0] != "synthetic"))
    DataFile(
        kind="pairs" if pairs else "documents",
        train=[source(name, count) for name, count in counts.items()],
        valid=source("valid_pairs" if pairs else "valid", evaluation_batches(section) * section.global_batch_size),
        sequence_length=recipe.tuning_sequence_length if pairs else recipe.model.sequence_length,
        seed=recipe.seed,
        epochs=recipe.training.epochs,
        end_of_document=roles.end_of_document,
        padding=roles.padding,
        separator=roles.separator,
        order="listed" if synthetic_first else "mixed",
    ).write(folder / DATA)
    return sum(counts.values())


def pair_samples(recipe: Recipe, prefix: Path, cache: Path) -> int:
    """Packed sequences of the tuning: `tuning.max_epochs` passes, rounded up to whole global batches.

    Args:
        recipe: the recipe.
        prefix: the pairs' dataset, without .bin and .idx.
        cache: folder for the packing.

    Raises:
        InputError: a pair does not fit into a training sequence.
    """
    tuning = recipe.tuning
    return packed_samples(
        prefix,
        cache,
        length=recipe.tuning_sequence_length,
        seed=recipe.seed,
        epochs=tuning.max_epochs,
        batch=tuning.global_batch_size,
    )


def packed_samples(prefix: Path, cache: Path, *, length: int, seed: int, epochs: float, batch: int) -> int:
    """`pair_samples` for sequences of `length` tokens: `epochs` passes, rounded up to whole batches of `batch`."""
    lengths = pair_lengths(open_lengths(prefix))
    try:
        packing = shared_packing(lengths, length, seed, prefix.name, IndexCache(cache))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error), file=prefix, key="pairs") from error
    return -(-int(len(packing) * epochs) // batch) * batch
