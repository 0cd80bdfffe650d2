"""From a data file to what the ranks read: exact blends, every document k times, and clear errors for odd datasets."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from megatron.training.datasets.data_samplers import MegatronPretrainingSampler
from megatron_ranks import END, PADDING, SEPARATOR, write_indexed

from megatron_sbp.errors import InputError
from megatron_sbp.training.data_file import DataFile, Source
from megatron_sbp.training.datasets import build_train, build_valid

TOKENIZER = SimpleNamespace(vocab_size=300, eod=END, pad=PADDING, unique_identifiers={})


def data_file(corpus, folder, sources: dict[str, int], epochs: str = "strict", length: int = 96, kind="documents"):
    path = folder / "data.json"
    DataFile(
        kind=kind,
        train=[Source(name, str(corpus / name), samples, name == "synthetic") for name, samples in sources.items()],
        valid=Source("valid", str(corpus / ("valid_pairs" if kind == "pairs" else "valid")), 8),
        sequence_length=length,
        seed=1,
        epochs=epochs,  # type: ignore[arg-type]
        end_of_document=END,
        padding=PADDING,
        separator=SEPARATOR,
    ).write(path)
    return path


@pytest.mark.parametrize("epochs", ["strict", "joint"])
def test_a_blend_is_exact_to_the_sample(corpus, tmp_path, epochs):
    """Every synthetic sample once, the real ones in order for the rest, in the order of Megatron's blending."""
    blend = build_train(
        data_file(corpus, tmp_path, {"real": 101, "synthetic": 37}, epochs), TOKENIZER, tmp_path / "cache"
    )
    items = [(int(item["dataset_id"]), item["sample"]) for item in (blend[place] for place in range(len(blend)))]
    assert len(items) == 138
    assert [sample for source, sample in items if source == 0] == list(range(101))
    assert [sample for source, sample in items if source == 1] == list(range(37))
    # Spread over the whole training, not at its beginning or end.
    places = [place for place, (source, _) in enumerate(items) if source == 1]
    assert max(np.diff(places)) <= 2 * 138 / 37 + 1


@pytest.mark.parametrize("ranks, micro_batch", [(1, 1), (2, 2), (3, 1)])
def test_after_k_epochs_every_document_was_seen_k_times_over_all_ranks(tmp_path, ranks, micro_batch):
    """Tokens counted on every data-parallel rank as Megatron's own sampler hands out the samples. Every document has a
    token of its own; the sequence length divides the epoch, so that whole epochs are whole samples."""
    lengths = np.random.default_rng(4).integers(1, 30, 60)
    lengths[-1] += -lengths.sum() % (12 * ranks * micro_batch)
    write_indexed(tmp_path / "real", [[[number + 10] * int(length)] for number, length in enumerate(lengths)])
    epochs, total = 3, int(lengths.sum())
    samples = epochs * total // 12
    path = data_file(tmp_path, tmp_path, {"real": samples}, length=12)
    blend = build_train(path, TOKENIZER)
    seen: Counter = Counter()
    for rank in range(ranks):
        sampler = MegatronPretrainingSampler(samples, 0, micro_batch, rank, ranks)
        for batch in sampler:
            for place in batch:
                seen.update(blend[place]["tokens"].tolist())
    assert seen == {number + 10: epochs * int(length) for number, length in enumerate(lengths)}


def test_a_run_of_twenty_epochs_begins_like_one_of_ten(corpus, tmp_path):
    per_epoch = build_train(data_file(corpus, tmp_path, {"real": 1}), TOKENIZER).datasets[0].epochs.tokens / 96
    ten, twenty = (
        build_train(data_file(corpus, tmp_path, {"real": int(count * per_epoch)}), TOKENIZER) for count in (10, 20)
    )
    assert all((ten[place]["tokens"] == twenty[place]["tokens"]).all() for place in range(len(ten)))


def test_megatrons_joint_shuffle_is_there_by_name(corpus, tmp_path):
    blend = build_train(data_file(corpus, tmp_path, {"real": 200}, "joint"), TOKENIZER, tmp_path / "cache")
    assert "joint shuffle" in blend.datasets[0].describe() and len(blend) == 200


@pytest.mark.parametrize("epochs", ["strict", "joint"])
def test_synthetic_documents_are_never_read_twice(corpus, tmp_path, epochs):
    path = data_file(corpus, tmp_path, {"real": 10, "synthetic": 1000}, epochs)
    with pytest.raises(InputError, match=r"synthetic.*1000 sequences are to be used once each.*only 47 of 96"):
        build_train(path, TOKENIZER, tmp_path / "cache")


@pytest.mark.parametrize("samples", [0, -3])
def test_a_source_without_samples_is_named(corpus, tmp_path, samples):
    with pytest.raises(InputError, match=f"real.*has {samples} samples; leave it out"):
        build_train(data_file(corpus, tmp_path, {"real": samples, "synthetic": 5}), TOKENIZER)


def test_a_single_sample_beside_many_is_not_lost(corpus, tmp_path):
    """Weights that are a thousandth and less crash other blends, or round to nothing."""
    blend = build_train(data_file(corpus, tmp_path, {"real": 2999, "synthetic": 1}), TOKENIZER)
    found = Counter(blend.dataset_index.tolist())
    assert found == {0: 2999, 1: 1}


def test_a_dataset_shorter_than_a_sequence_or_empty(corpus, tmp_path):
    write_indexed(tmp_path / "short", [[[5, 6, 7, END]]])
    write_indexed(tmp_path / "hollow", [[[]], [[]]])
    for name, message in (
        ("short", "its 4 tokens do not fill one sequence of 96"),
        ("hollow", "its 0 tokens do not fill"),
    ):
        with pytest.raises(InputError, match=f"{name}.*{message}"):
            build_train(data_file(tmp_path, tmp_path, {name: 5}), TOKENIZER)


def test_pairs_longer_than_a_sequence_are_named(corpus, tmp_path):
    with pytest.raises(InputError, match=r"a pair of .* tokens does not fit into a sequence of 20"):
        build_train(data_file(corpus, tmp_path, {"pairs": 5}, length=20, kind="pairs"), TOKENIZER)


def test_validation_repeats_the_same_sequences(corpus, tmp_path):
    valid = build_valid(data_file(corpus, tmp_path, {"real": 5}), TOKENIZER, 100)
    assert len(valid) == 100
    assert all((valid[place]["tokens"] == valid[place + 8]["tokens"]).all() for place in range(8))
