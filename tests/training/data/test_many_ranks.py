"""4,096 data-parallel ranks of a paper recipe, without processes: every sample once, every token once per epoch.

What a rank reads is arithmetic: Megatron's sampler takes places in the blend from (samples consumed, rank, ranks), our
blend gives each place a source and a sample, and our epochs give a sample its tokens. The arm `sbp` of sbp_3b_1t runs
through all three with the sizes of its corpus and its budget divided by thousands; sequences, shares, and the number of
epochs (17.5) stay.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from megatron.training.datasets.data_samplers import MegatronPretrainingSampler
from support.megatron_ranks import END, PADDING, SEPARATOR

from megatron_sbp.planning import ledger
from megatron_sbp.recipe import Recipe, load_recipe
from megatron_sbp.tokenization.indexed import write_indexed
from megatron_sbp.training import consumption
from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.data.datasets import build_train

RECIPE = Path(__file__).parents[3] / "examples" / "sbp_3b_1t" / "recipe.yaml"
RANKS, BATCH = 4096, 8192
TOKENIZER = SimpleNamespace(vocab_size=49_152, eod=END, pad=PADDING, unique_identifiers={})


def smaller(parts: int) -> Recipe:
    recipe = load_recipe(RECIPE)
    return load_recipe(
        RECIPE,
        [
            f"documents.train={recipe.documents.train // parts}",
            f"training.train_tokens={recipe.training.train_tokens // parts}",
            f"synthesis.tokens={recipe.synthesis.tokens // parts}",
            f"training.global_batch_size={BATCH}",
            "training.micro_batch_size=1",
        ],
    )


def write_documents(prefix: Path, documents: int, tokens: int, seed: int) -> None:
    """Documents of lengths as text has them, `tokens` in all; what they say does not matter here."""
    random = np.random.default_rng(seed)
    lengths = np.maximum(1, random.lognormal(0, 1, documents) * 500).astype(np.int64)
    lengths = np.maximum(1, lengths * tokens // lengths.sum())
    lengths[0] += tokens - lengths.sum()
    with write_indexed(prefix, np.uint16) as writer:
        for part in np.array_split(lengths, -(-documents // 100_000)):
            writer.add(np.zeros(part.sum(), np.uint16), part)


def made(folder: Path, recipe: Recipe) -> tuple[DataFile, Any]:
    """The data file of the arm, and the blend that every rank builds from it."""
    samples = ledger.arm_samples(recipe, "sbp")
    length = recipe.model.sequence_length
    write_documents(folder / "real", recipe.documents.train, recipe.documents.train * 828, 1)
    write_documents(folder / "synthetic", samples["synthetic"] * 5, samples["synthetic"] * length + 1, 2)
    data = DataFile(
        "documents",
        [Source(name, name, count, once=name == "synthetic") for name, count in samples.items()],
        Source("valid", "real", 8),
        length,
        recipe.seed,
        recipe.training.epochs,
        END,
        PADDING,
        SEPARATOR,
    )
    data.write(folder / "data.json")
    return data, build_train(folder / "data.json", TOKENIZER)


def places(begin: int, end: int, ranks: int, micro_batch: int) -> np.ndarray:
    """Places in the blend that the ranks read, by Megatron's samplers: int64 [ranks, micro-batches, micro-batch].

    A sampler walks through all places in Python to slice every global micro-batch, so 4,096 of them would take minutes:
    each rank's own part of that, its slice, is asked for, and some ranks walk.
    """
    samplers = [MegatronPretrainingSampler(end, begin, micro_batch, rank, ranks) for rank in range(ranks)]
    whole = np.arange(begin, end).reshape(-1, ranks * micro_batch)
    found = np.stack([whole[:, slice(*sampler.get_start_end_idx())] for sampler in samplers])
    for rank in {0, 1, ranks // 2 + 1, ranks - 1}:
        assert list(islice(samplers[rank], 20)) == found[rank, :20].tolist()
    return found


def record(folder: Path, blend: Any, found: np.ndarray, begin: int) -> None:
    """What every rank records: iteration, source, sample; see megatron_sbp.training.consumption."""
    for rank, own in enumerate(found.reshape(len(found), -1)):
        rows = np.stack([own // BATCH, blend.dataset_index[own], np.asarray(blend.dataset_sample_index)[own]], axis=1)
        with open(folder / f"{rank:05d}.i64", "ab") as file:
            file.write(rows.astype("<i8").tobytes())


@pytest.mark.parametrize("parts", [4000, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_every_sample_is_read_once_by_4096_ranks_and_by_others_that_resume(tmp_path, parts):
    recipe = smaller(parts)
    data, blend = made(tmp_path, recipe)
    samples = ledger.arm_samples(recipe, "sbp")
    total, consumed = sum(samples.values()), tmp_path / "consumed"
    consumed.mkdir()
    steps, begin = total // BATCH, 0
    assert steps * BATCH == total and len(blend) == total
    # Three eighths on 4,096 ranks, then a quarter of them with larger micro-batches, then 4,096 with one, to the end.
    for until, ranks, micro_batch in ((3 * steps // 8, RANKS, 2), (5 * steps // 8, RANKS // 4, 4), (steps, RANKS, 1)):
        found = places(begin, until * BATCH, ranks, micro_batch)
        assert np.array_equal(np.sort(found, axis=None), np.arange(begin, until * BATCH))
        # In every step each rank has as much as any other.
        assert found.shape[1] * micro_batch * ranks == until * BATCH - begin
        record(consumed, blend, found, begin)
        begin = until * BATCH
    assert consumption.check(consumed, data, steps, BATCH, complete=True) == samples
    # No step has a source's share wrong by more than a sample.
    for number, count in enumerate(samples.values()):
        of_steps = (np.asarray(blend.dataset_index) == number).reshape(steps, BATCH).sum(1).cumsum()
        assert np.abs(of_steps - np.arange(1, steps + 1) * BATCH * count / total).max() <= 1


@pytest.mark.parametrize("parts", [4000, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_every_token_is_in_one_sample_per_epoch(tmp_path, parts):
    recipe = smaller(parts)
    data, blend = made(tmp_path, recipe)
    length = data.sequence_length
    real, synthetic = (dataset.epochs for dataset in blend.datasets)
    count, whole = data.train[0].samples, data.train[0].samples * length // real.tokens
    assert 17 <= whole <= 18
    carried = first = 0  # tokens of an epoch that the last sample of the epoch before it has, and its first sample
    for number in range(whole + 1):
        epoch = real.build(number)
        assert real.first_sample(number) == first and real.epoch_of(first) == number
        assert np.array_equal(np.sort(epoch.documents), np.arange(recipe.documents.train))
        begins = starts(real.lengths, epoch)
        assert np.array_equal(np.sort(begins), carried + length * np.arange(len(begins)))  # side by side, none twice
        assert not np.array_equal(begins, np.sort(begins))  # and shuffled
        first += len(begins)
        carried += length * len(begins) - real.tokens
        assert 0 <= carried < length
    assert real.first_sample(whole) <= count < first  # the budget ends in the last of them
    once = starts(synthetic.lengths, synthetic.build_once(data.train[1].samples))
    assert np.array_equal(np.sort(once), length * np.arange(data.train[1].samples))
    assert length * data.train[1].samples + 1 == synthetic.tokens  # the last is a label only


def starts(lengths: np.ndarray, epoch: Any) -> np.ndarray:
    """Where in an epoch's stream of tokens its samples begin, int64 [samples]."""
    ends = lengths[epoch.documents].cumsum(dtype=np.int64)
    return (ends - lengths[epoch.documents])[epoch.places] + epoch.offsets
