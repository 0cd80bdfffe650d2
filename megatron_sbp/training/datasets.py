"""From a data file to the datasets that Megatron's loop reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron.core.datasets.blended_dataset import BlendedDataset
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split

from megatron_sbp.errors import InputError
from megatron_sbp.training.data_file import DataFile, Source
from megatron_sbp.training.document_dataset import DocumentDataset, JointDataset
from megatron_sbp.training.held_out import HeldOut
from megatron_sbp.training.index_cache import IndexCache
from megatron_sbp.training.pair_dataset import PairDataset


def build_train(path: Path, tokenizer: Any, cache: Path | None = None) -> BlendedDataset:
    """The blend of a data file, through Megatron's BlendedDataset: every source gives exactly its number of samples.

    Args:
        path: the data file.
        tokenizer: Megatron's tokenizer.
        cache: folder for indices that all ranks share: ours of large datasets, Megatron's for `epochs: joint`.

    Raises:
        InputError: a source without samples, or one that cannot give its samples.
    """
    data = DataFile.read(path)
    config = _config(data, tokenizer, cache)
    datasets = []
    for source in data.train:
        if source.samples <= 0:
            raise InputError(f"has {source.samples} samples; leave it out instead", file=path, key=source.name)
        datasets.append(_dataset(path, data, source, source.samples, Split.train, config, cache))
    return BlendedDataset(datasets, [source.samples for source in data.train], None, config)


def build_valid(path: Path, tokenizer: Any, num_samples: int) -> HeldOut:
    """The validation set of a data file: `valid.samples` sequences, the same at every evaluation."""
    data = DataFile.read(path)
    dataset = _dataset(path, data, data.valid, None, Split.valid, _config(data, tokenizer, None))
    return HeldOut(dataset, data.valid.samples, num_samples)


def _config(data: DataFile, tokenizer: Any, cache: Path | None) -> GPTDatasetConfig:
    return GPTDatasetConfig(
        random_seed=data.seed,
        sequence_length=data.sequence_length,
        blend=None,
        blend_per_split=[None, None, None],
        path_to_cache=str(cache) if cache and data.epochs == "joint" else None,
        tokenizer=tokenizer,
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        mid_level_dataset_surplus=0.0,
    )


def _dataset(
    path: Path,
    data: DataFile,
    source: Source,
    samples: int | None,
    split: Split,
    config: GPTDatasetConfig,
    cache: Path | None = None,
) -> Any:
    prefix = str((path.parent / source.prefix).resolve())
    # Datasets of one blend may be of the same size, so each has a folder of its own.
    shared = IndexCache(cache / source.name) if cache else None
    try:
        if not Path(f"{prefix}.bin").stat().st_size:
            raise ValueError("the dataset is empty")
        indexed = IndexedDataset(prefix)
        if data.kind == "pairs":
            packings = IndexCache(path.parent / "packing")
            return PairDataset(indexed, prefix, samples, split, config, data.separator, data.padding, packings)
        tokens = int(indexed.index.sequence_lengths.sum(dtype="int64"))
        if tokens <= data.sequence_length:
            raise ValueError(f"its {tokens} tokens do not fill one sequence of {data.sequence_length}")
        if samples is None:
            samples = (tokens - 1) // data.sequence_length
            return DocumentDataset(indexed, prefix, samples, split, config, once=True)
        if data.epochs == "joint":
            return JointDataset(indexed, prefix, samples, split, config, once=source.once)
        return DocumentDataset(indexed, prefix, samples, split, config, once=source.once, cache=shared)
    except ValueError as error:
        raise InputError(str(error), file=prefix, key=source.name) from error
