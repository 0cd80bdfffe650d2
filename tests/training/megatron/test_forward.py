"""What a micro-batch costs: the sum of the losses that count, and whose they are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
from support.forked import forked

from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.megatron.forward import FIELDS, PretrainCallbacks


def trainer() -> PretrainCallbacks:
    sources = [Source("real", "real", 6), Source("synthetic", "synthetic", 2)]
    data = DataFile("documents", sources, Source("valid", "valid", 4), 8, 1, "strict", 0, 1, 2)
    return PretrainCallbacks(SimpleNamespace(sbp_data=Path("models/sbp/data.json"), context_parallel_size=1), data)


def test_the_loss_is_a_sum_over_tokens_that_count():
    made = trainer()
    losses, mask = torch.tensor([[1.0, 2.0, 4.0]], requires_grad=True), torch.tensor([[1, 0, 1]])
    total, count, log = made.loss(mask, None, losses)
    assert (float(total), int(count), count.dtype) == (5.0, 2, torch.int32)
    assert log["lm loss"].tolist() == [5.0, 2.0] and not log["lm loss"].requires_grad
    total.backward()
    assert losses.grad.tolist() == [[1.0, 0.0, 1.0]]


def test_half_precision_losses_are_summed_in_single_precision():
    losses = torch.ones(1, 1000, dtype=torch.bfloat16)
    total, _, _ = trainer().loss(torch.ones(1, 1000), None, losses)
    assert float(total) == 1000.0  # in bfloat16 the sum would stop at 256


def test_losses_belong_to_sources_only_in_training():
    made = trainer()
    made.loss(torch.ones(2, 3), None, torch.ones(2, 3))
    assert made.source_losses._sums is None
    made.loss(torch.ones(2, 3), torch.tensor([0, 1]), torch.tensor([[1.0] * 3, [2.0] * 3]))
    assert made.source_losses._sums.tolist() == [[3.0, 3.0], [6.0, 3.0]]


def test_without_context_parallelism_a_rank_computes_whole_sequences():
    batch = {name: torch.zeros(1) for name in FIELDS}
    made = trainer()
    assert made._of_this_rank(batch) is batch and made.folder == Path("models/sbp")


CONTEXT_PARALLEL = """
import os
from pathlib import Path
from types import SimpleNamespace
import torch
from megatron.core import parallel_state
from torch.testing._internal.distributed.fake_pg import FakeStore
from megatron_sbp.training.data.data_file import DataFile, Source
from megatron_sbp.training.megatron.forward import FIELDS, PretrainCallbacks
rank = 0
while rank < 3 and os.fork():  # each rank forks the next
    rank += 1
torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=4)
parallel_state.initialize_model_parallel(context_parallel_size=2, create_gloo_process_groups=False)
data = DataFile("documents", [Source("real", "real", 6)], Source("valid", "valid", 4), 8, 1, "strict", 0, 1, 2)
trainer = PretrainCallbacks(SimpleNamespace(sbp_data=Path("x/data.json"), context_parallel_size=2), data)
batch = trainer._of_this_rank({name: torch.arange(16).view(2, 8) for name in FIELDS})
same = all(batch[name].equal(batch["tokens"]) for name in FIELDS)
os.write(1, f"rank {rank} {same} {batch['tokens'].tolist()}\\n".encode())  # in one piece
if rank == 3:
    for _ in range(3):
        assert os.wait()[1] == 0
"""


def test_context_parallel_ranks_share_a_sequence_with_their_group_only():
    """Of four ranks, two and two read the same samples. Nothing is sent: torch's own stand-in makes the groups."""
    status, printed = forked(lambda: exec(CONTEXT_PARALLEL, {}))
    assert status == 0, printed[-2000:]
    for rank, places in enumerate([[0, 1, 6, 7], [2, 3, 4, 5]] * 2):
        rows = [[place + 8 * row for place in places] for row in range(2)]
        assert f"rank {rank} True {rows}" in printed.splitlines(), printed[-2000:]


def test_a_start_with_rarer_evaluations_than_before_finds_samples_for_them(corpus, monkeypatch):
    """Megatron continues after the validation samples of former starts, and counts them by the present flags."""
    from megatron.training.datasets.data_samplers import MegatronPretrainingSampler

    made = trainer()
    source = Source("real", "real", 4)
    made.args.sbp_data = corpus / "data.json"
    DataFile("documents", [source], Source("valid", "valid", 4), 96, 1, "strict", 0, 1, 2).write(made.args.sbp_data)
    tokenizer = SimpleNamespace(vocab_size=300, eod=0, pad=1, unique_identifiers={})
    monkeypatch.setattr("megatron_sbp.training.megatron.vocabulary.build_tokenizer", lambda args: tokenizer)
    made.args.global_batch_size, made.args.consumed_valid_samples = 4, 4 * 50_000
    _, valid, _ = made.datasets([4, 8, 0])
    drawn = iter(MegatronPretrainingSampler(len(valid), made.args.consumed_valid_samples, 4, 0, 1))
    assert next(drawn) == [200_000, 200_001, 200_002, 200_003]
