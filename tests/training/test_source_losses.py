"""Loss by data source: sums over micro-batches and ranks, means over tokens."""

from __future__ import annotations

import pytest
import torch

from megatron_sbp.training.source_losses import SourceLosses


@pytest.fixture
def group(tmp_path):
    """A process group of one."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.group.WORLD
    torch.distributed.destroy_process_group()


def test_means_are_over_tokens_that_count(group):
    losses = SourceLosses(["real", "synthetic", "unused"])
    values = torch.tensor([[1.0, 3.0, 100.0], [5.0, 7.0, 9.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    losses.add(values, mask, torch.tensor([0, 1]))
    losses.add(torch.tensor([[5.0, 5.0, 5.0]]), torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0]))
    assert losses.take(group, "cpu") == {
        "real": {"loss": 3.0, "tokens": 3},
        "synthetic": {"loss": 7.0, "tokens": 3},
    }
    assert losses.take(group, "cpu") == {}  # restarted, though nothing was added


def test_several_sequences_of_one_source_in_a_batch_all_count(group):
    losses = SourceLosses(["real"])
    losses.add(torch.ones(4, 8), torch.ones(4, 8), torch.zeros(4, dtype=torch.long))
    assert losses.take(group, "cpu") == {"real": {"loss": 1.0, "tokens": 32}}


def test_the_graph_is_not_kept(group):
    losses = SourceLosses(["real"])
    values = torch.ones(1, 2, requires_grad=True)
    losses.add(values * 2, torch.ones(1, 2), torch.zeros(1, dtype=torch.long))
    assert not losses._sums.requires_grad
    assert losses.take(group, "cpu")["real"]["loss"] == 2.0


def test_half_precision_is_summed_in_double(group):
    losses = SourceLosses(["real"])
    for _ in range(300):
        losses.add(torch.full((1, 8), 1.0, dtype=torch.bfloat16), torch.ones(1, 8), torch.zeros(1, dtype=torch.long))
    assert losses.take(group, "cpu") == {"real": {"loss": 1.0, "tokens": 2400}}  # bfloat16 would stop at 256
