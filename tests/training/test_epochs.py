"""Strict epochs: every document exactly once per epoch, and a longer run begins like a shorter one."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.training.epochs import StrictEpochs, pieces


def stream(epochs: StrictEpochs, count: int) -> list[tuple[int, int]]:
    """(document, offset) of every token of `count` epochs, in reading order before the shuffle of samples."""
    tokens = []
    for number in range(count):
        epoch = epochs.build(number)
        for document, offset, length in pieces(epoch, 0, epochs.tokens):
            tokens += [(document, offset + step) for step in range(length)]
    return tokens


@pytest.mark.parametrize("lengths", [[5, 1, 9, 3], [7], [4, 0, 6, 0], list(range(1, 40))])
def test_every_epoch_holds_every_token_once(lengths):
    epochs = StrictEpochs(np.array(lengths), 4, seed=3)
    everything = sorted((d, t) for d, length in enumerate(lengths) for t in range(length))
    tokens = stream(epochs, 3)
    for number in range(3):
        part = tokens[number * epochs.tokens : (number + 1) * epochs.tokens]
        assert sorted(part) == everything


def test_samples_of_an_epoch_are_all_that_begin_in_it():
    epochs = StrictEpochs(np.random.default_rng(0).integers(1, 50, 100), 64, seed=1)
    seen = []
    for number in range(5):
        first, end = epochs.first_sample(number), epochs.first_sample(number + 1)
        seen += list(first + epochs.build(number).shuffle)
        assert all(epochs.epoch_of(sample) == number for sample in range(first, end))
    assert sorted(seen) == list(range(epochs.first_sample(5)))


def test_order_depends_on_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(1, 50, 100)
    one, other = StrictEpochs(lengths, 64, seed=1), StrictEpochs(lengths, 64, seed=2)
    assert (one.build(0).documents == one.build(0).documents).all()
    assert (one.build(0).documents != one.build(1).documents).any()
    assert (one.build(0).documents != other.build(0).documents).any()


def test_pieces_against_the_plain_definition():
    rng = np.random.default_rng(5)
    epochs = StrictEpochs(rng.integers(0, 9, 50), 8, seed=1)
    epoch = epochs.build(0)
    flat = [(int(d), t) for d in epoch.documents for t in range(int(epochs.lengths[d]))]
    for _ in range(200):
        begin = int(rng.integers(0, epochs.tokens))
        length = int(rng.integers(1, 40))
        got = [(d, o + t) for d, o, n in pieces(epoch, begin, length) for t in range(n)]
        assert got == flat[begin : begin + length]


def test_a_dataset_without_tokens_is_refused():
    with pytest.raises(ValueError, match="no tokens"):
        StrictEpochs(np.array([0, 0]), 8, seed=1)
