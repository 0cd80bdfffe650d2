"""Strict epochs: every document exactly once per epoch, and a longer run begins like a shorter one."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.training.data.epochs import StrictEpochs, permutation


def plain_epoch(lengths: np.ndarray, sequence_length: int, seed: int, epoch: int) -> tuple[np.ndarray, list, list]:
    """The definition in plain NumPy: documents, and the place and offset where every sample begins."""
    tokens = int(lengths.sum())
    documents = np.random.default_rng([seed, epoch, 0]).permutation(len(lengths))
    ends = np.cumsum(lengths[documents])
    first, end = (-(-number * tokens // sequence_length) for number in (epoch, epoch + 1))
    places, offsets = [], []
    for sample in first + np.random.default_rng([seed, epoch, 1]).permutation(end - first):
        begin = sample * sequence_length - epoch * tokens
        place = int(np.searchsorted(ends, begin, side="right"))
        places.append(place)
        offsets.append(begin - (ends[place - 1] if place else 0))
    return documents, places, offsets


@pytest.mark.parametrize("length", [4, 7, 64])
@pytest.mark.parametrize("lengths", [[5, 1, 9, 3], [7], [4, 0, 6, 0, 0], list(range(1, 40)), [0, 0, 1000]])
def test_against_the_plain_definition(lengths, length):
    epochs = StrictEpochs(np.array(lengths, np.int32), length, seed=3)
    for number in (0, 1, 2, 9):
        epoch = epochs.build(number)
        documents, places, offsets = plain_epoch(np.array(lengths), length, 3, number)
        assert epoch.documents.tolist() == documents.tolist()
        assert (epoch.places.tolist(), epoch.offsets.tolist()) == (places, offsets)


def test_samples_of_an_epoch_are_all_that_begin_in_it():
    epochs = StrictEpochs(np.random.default_rng(0).integers(1, 50, 100), 64, seed=1)
    assert epochs.first_sample(0) == 0
    for number in range(5):
        first, end = epochs.first_sample(number), epochs.first_sample(number + 1)
        assert len(epochs.build(number).places) == end - first
        assert all(epochs.epoch_of(sample) == number for sample in range(first, end))


def test_used_once_the_samples_are_the_first_of_epoch_0_in_another_order():
    epochs = StrictEpochs(np.random.default_rng(0).integers(0, 50, 100), 64, seed=1)
    whole = epochs.samples_of_one_epoch()
    first, once = epochs.build(0), epochs.build_once(whole)
    assert (once.documents == first.documents).all()
    begins = {*zip(first.places.tolist(), first.offsets.tolist(), strict=True)}
    chosen = [*zip(once.places.tolist(), once.offsets.tolist(), strict=True)]
    assert len(chosen) == whole == len({*chosen}) and {*chosen} <= begins


def test_order_depends_on_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(1, 50, 100)
    one, other = StrictEpochs(lengths, 64, seed=1), StrictEpochs(lengths, 64, seed=2)
    assert (one.build(0).documents == one.build(0).documents).all()
    assert (one.build(0).documents != one.build(1).documents).any()
    assert (one.build(0).documents != other.build(0).documents).any()


def test_a_permutation_is_numpys_in_half_the_bytes():
    for count in (0, 1, 2, 1000):
        numbers = permutation(count, [1, 2])
        assert numbers.dtype == np.uint32
        assert (numbers == np.random.default_rng([1, 2]).permutation(count)).all()


def test_a_dataset_without_tokens_is_refused():
    with pytest.raises(ValueError, match="no tokens"):
        StrictEpochs(np.array([0, 0]), 8, seed=1)
