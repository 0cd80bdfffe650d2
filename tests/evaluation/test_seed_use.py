"""What the synthesizer reads from its seed: a model that copies, one that does not look, and which seeds are wrong."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from megatron_sbp.evaluation.seed_use import reading, wrong_seeds
from megatron_sbp.tokenization.indexed import open_indexed, write_indexed

END, PADDING, SEPARATOR, ENTRIES = 0, 1, 2, 64


@pytest.fixture
def copies(tmp_path):
    """120 pairs in which the target is the seed document itself, in 40 groups of related documents."""
    random = np.random.default_rng(4)
    seeds = np.repeat(np.arange(60), 2)
    targets = np.array([[one ^ 1, 60 + one // 2] for one in range(60)]).ravel()
    with write_indexed(tmp_path / "pairs", np.uint16) as writer:
        for one in seeds.tolist():
            text = np.random.default_rng(one // 2).integers(3, ENTRIES, random.integers(5, 9))
            writer.add(
                np.concatenate([text, text, [END]]), np.array([len(text), len(text) + 1]), sequences_per_document=2
            )
    return open_indexed(tmp_path / "pairs"), (seeds, targets)


class Copying(torch.nn.Module):
    """Expects the token behind the separator to be the seed's, place by place; with strength 0 it expects nothing."""

    def __init__(self, strength: float):
        super().__init__()
        self.strength = torch.nn.Parameter(torch.tensor(strength))

    def forward(self, input_ids, use_cache):
        logits = torch.zeros(*input_ids.shape, ENTRIES)
        for row, ids in enumerate(input_ids.tolist()):
            middle = ids.index(SEPARATOR)
            for place in range(middle, len(ids)):
                copied = place - middle
                logits[row, place, ids[copied] if copied < middle else END] = self.strength
        return SimpleNamespace(logits=logits)


def measure(model, copies, **changes):
    options = {"separator": SEPARATOR, "padding": PADDING, "at_most": 500, "seed": 1, "batch_size": 7} | changes
    return reading(model, *copies, **options)


def test_a_model_that_copies_reads_and_one_that_does_not_look_does_not(copies):
    found = measure(Copying(8.0), copies)
    assert found["pairs"] == 120
    assert found["loss_true_seed"] < 0.1 and found["loss_wrong_seed"] > 3
    assert found["gain"] == pytest.approx(found["loss_wrong_seed"] - found["loss_true_seed"])
    assert 0 < found["gain_stderr"] < 0.2 * found["gain"]
    blind = measure(Copying(0.0), copies)
    assert blind["gain"] == pytest.approx(0, abs=1e-6)
    assert blind["loss_true_seed"] == pytest.approx(np.log(ENTRIES), abs=1e-5)


def test_batches_and_padding_change_nothing(copies):
    one, several = measure(Copying(3.0), copies, batch_size=1), measure(Copying(3.0), copies, batch_size=50)
    assert one["gain"] == pytest.approx(several["gain"], abs=1e-6)
    assert measure(Copying(3.0), copies, at_most=30)["pairs"] == 30


def test_a_wrong_seed_is_neither_the_target_nor_paired_with_it(copies):
    seeds, targets = copies[1]
    others = wrong_seeds(seeds, targets, 1)
    assert (others >= 0).all()
    for target, other in zip(targets.tolist(), seeds[others].tolist(), strict=True):
        assert other != target and other not in seeds[targets == target]


def test_a_single_pair_gives_null(tmp_path):
    with write_indexed(tmp_path / "pairs", np.uint16) as writer:
        writer.add(np.array([3, 4, 5, END]), np.array([2, 2]), sequences_per_document=2)
    found = measure(Copying(1.0), (open_indexed(tmp_path / "pairs"), (np.array([0]), np.array([1]))))
    assert found["pairs"] == 0 and found["gain"] is None
