"""Room of a pair in a packed sequence."""

from __future__ import annotations

import numpy as np

from megatron_sbp.tokenization.indexed import open_lengths, write_indexed
from megatron_sbp.training.data.packing import pack
from megatron_sbp.training.data.pair_lengths import pair_lengths


def test_seed_separator_and_target_less_the_last_label():
    lengths = np.array([3, 2, 7, 1, 1, 9], np.int32)
    tokens = lengths[0::2] + 1 + lengths[1::2]
    found = pair_lengths(lengths)
    assert found.tolist() == (tokens - 1).tolist() == [5, 8, 10] and found.dtype == np.int32
    assert pair_lengths(np.empty(0, np.int32)).shape == (0,)


def test_of_a_dataset_on_disk(tmp_path):
    seeds, targets = [4, 1, 6], [2, 5, 3]
    lengths = np.array([length for pair in zip(seeds, targets, strict=True) for length in pair], np.int32)
    with write_indexed(tmp_path / "pairs", np.uint16) as writer:
        writer.add(np.zeros(lengths.sum(), np.uint16), lengths, sequences_per_document=2)
    assert pair_lengths(open_lengths(tmp_path / "pairs")).tolist() == [6, 6, 9]


def test_two_pairs_fill_a_sequence_without_a_place_over():
    """A seed of 3 and a target of 4 are 8 tokens with their separator: 7 inputs, of which each has a label."""
    assert len(pack(pair_lengths(np.array([3, 4, 3, 4], np.int32)), 14, seed=1)) == 1
    assert len(pack(pair_lengths(np.array([3, 4, 3, 4], np.int32)), 13, seed=1)) == 2
