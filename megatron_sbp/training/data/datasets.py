"""Builds the datasets for Megatron's loop from a data file."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from megatron.core.datasets.blended_dataset import BlendedDataset
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split

from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint.model_folder import CACHE
from megatron_sbp.tokenization.indexed import open_lengths
from megatron_sbp.training.data.blended_dataset import Blend
from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.data.document_dataset import DocumentDataset, JointDataset
from megatron_sbp.training.data.held_out import HeldOut
from megatron_sbp.training.data.index_cache import IndexCache
from megatron_sbp.training.data.pair_dataset import PairDataset


def build_train(path: Path, tokenizer: object, cache: Path | None = None) -> BlendedDataset:
    """The blend of a data file, through Megatron's BlendedDataset: every source contributes exactly its number of
    samples.

    All ranks must call it: with `epochs: joint`, they wait for each other.

    Args:
        path: the data file.
        tokenizer: Megatron's tokenizer.
        cache: folder for indices that all ranks share; None: `cache` beside the data file.

    Raises:
        InputError: no source, a source without samples, or a source with too few samples.
    """
    data = DataFile.read(path)
    folder = cache or path.parent / CACHE
    config = _config(data, tokenizer)
    if not data.train:
        raise InputError("has no dataset to train on", file=path, key="train")
    for source in data.train:
        if source.samples <= 0:
            raise InputError(f"has {source.samples} samples; leave it out instead", file=path, key=source.name)
    if data.epochs == "joint" and data.kind == "documents":
        joint = dataclasses.replace(config, path_to_cache=str(folder / "joint"))
        datasets = _rank_0_first(
            folder / "joint",
            lambda: [_joint(path, data, source, joint) for source in data.train],
        )
    else:
        shared = IndexCache(folder)
        datasets = [
            _dataset(path, data, source, samples=source.samples, split=Split.train, config=config, cache=shared)
            for source in data.train
        ]
    counts = [source.samples for source in data.train]
    return Blend(datasets, counts, config, IndexCache(folder), in_turn=data.order == "listed")


def build_valid(path: Path, tokenizer: object, num_samples: int) -> HeldOut:
    """The validation set of a data file: `valid.samples` sequences, the same at every evaluation.

    Raises:
        InputError: a dataset without a single sequence.
    """
    data = DataFile.read(path)
    config = _config(data, tokenizer)
    if data.valid.samples <= 0:
        raise InputError(f"has {data.valid.samples} samples; at least 1 is needed", file=path, key=data.valid.name)
    dataset = _dataset(
        path, data, data.valid, samples=None, split=Split.valid, config=config, cache=IndexCache(path.parent / CACHE)
    )
    return HeldOut(dataset, data.valid.samples, num_samples)


def _config(data: DataFile, tokenizer: object) -> GPTDatasetConfig:
    return GPTDatasetConfig(
        random_seed=data.seed,
        sequence_length=data.sequence_length,
        blend=None,
        blend_per_split=[None, None, None],
        path_to_cache=None,
        tokenizer=tokenizer,
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        mid_level_dataset_surplus=0.0,
    )


def _open(path: Path, data: DataFile, source: Source) -> IndexedDataset:
    """Opens a source after checking both of its files, which Megatron does not check."""
    prefix = (path.parent / source.prefix).resolve()
    try:
        lengths = open_lengths(prefix)
    except InputError as error:
        raise InputError(error.reason, file=error.file, key=source.name) from error
    if len(lengths) == 0:
        raise InputError("the dataset is empty: it has 0 sequences", file=prefix, key=source.name)
    tokens = int(lengths.sum(dtype=np.int64))
    if data.kind == "documents" and tokens <= data.sequence_length:
        raise InputError(
            f"its {tokens} tokens do not fill one sequence of {data.sequence_length} and the label after it",
            file=prefix,
            key=source.name,
        )
    return IndexedDataset(str(prefix))


def _dataset(
    path: Path,
    data: DataFile,
    source: Source,
    *,
    samples: int | None,
    split: Split,
    config: GPTDatasetConfig,
    cache: IndexCache,
) -> DocumentDataset | PairDataset:
    indexed = _open(path, data, source)
    prefix = indexed.path_prefix
    try:
        if data.kind == "pairs":
            return PairDataset(
                indexed, prefix, samples, split, config, separator=data.separator, padding=data.padding, cache=cache
            )
        if samples is None:
            samples = (int(indexed.sequence_lengths.sum(dtype=np.int64)) - 1) // data.sequence_length
            return DocumentDataset(indexed, prefix, samples, split, config, once=True, cache=cache)
        return DocumentDataset(indexed, prefix, samples, split, config, once=source.once, cache=cache)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error), file=prefix, key=source.name) from error


def _joint(path: Path, data: DataFile, source: Source, config: GPTDatasetConfig) -> JointDataset:
    indexed = _open(path, data, source)
    documents = np.arange(len(indexed), dtype=np.int32)
    try:
        return JointDataset(
            indexed, indexed.path_prefix, documents, source.samples, Split.train, config, once=source.once
        )
    except ValueError as error:
        raise InputError(str(error), file=indexed.path_prefix, key=source.name) from error


def _rank_0_first(folder: Path, build: Callable[[], list[JointDataset]]) -> list[JointDataset]:
    """Megatron's GPTDataset writes its index on rank 0, in place; the other ranks read it afterwards.

    A marker file distinguishes a complete index from one whose writer was killed, which Megatron would accept.
    """
    distributed = torch.distributed.is_initialized()
    first = not distributed or torch.distributed.get_rank() == 0
    if not first:
        torch.distributed.barrier()
    mark = folder / "complete"
    if first and not mark.exists():
        shutil.rmtree(folder, ignore_errors=True)
    datasets = build()
    if first:
        mark.touch()
        if distributed:
            torch.distributed.barrier()
    return datasets
