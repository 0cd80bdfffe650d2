"""Parameters, FLOPs and memory by arithmetic: counted by hand, and how they scale."""

from __future__ import annotations

import pytest

from megatron_sbp.planning import cost
from megatron_sbp.recipe import Launch, Model, Training

FULL = {"recompute-granularity": "full"}


def model(**changes) -> Model:
    values = {
        "num_layers": 2, "hidden_size": 8, "ffn_hidden_size": 16, "num_attention_heads": 4, "num_query_groups": 2,
        "kv_channels": 4, "sequence_length": 32, "qk_layernorm": True, "tied_embeddings": True,
    }  # fmt: skip
    return Model(**{**values, **changes})


def training(**changes) -> Training:
    return Training(**{"train_tokens": 1000, "global_batch_size": 4, "micro_batch_size": 2, **changes})


def test_parameters_by_hand():
    # q 16, v 8: 8 x (16 + 16) + 16 x 8 + 3 x 8 x 16 = 768 in matrices; norms 2 x 8, QK-norms 2 x 4.
    found = cost.parameters(model(), 100)
    assert (found.embedding, found.layers, found.final_norm) == (800, 2 * (768 + 16 + 8), 8)
    assert found.total == 800 + 1584 + 8
    assert cost.parameters(model(tied_embeddings=False), 100).embedding == 1600
    assert cost.parameters(model(qk_layernorm=False), 100).layers == 2 * (768 + 16)


@pytest.mark.parametrize(
    ("vocabulary", "multiple", "tensor", "rows"),
    [(1000, 128, 1, 1024), (1024, 128, 1, 1024), (1000, 128, 8, 1024), (1000, 128, 3, 1008), (1000, 1, 4, 1000),
     (10, 1, 4, 12)],
)  # fmt: skip
def test_padding_of_the_vocabulary(vocabulary, multiple, tensor, rows):
    found = cost.padded_vocab_size(model(make_vocab_size_divisible_by=multiple), vocabulary, tensor)
    assert found == rows and found % tensor == 0 and found >= vocabulary


def test_training_flops_grow_with_samples_and_quadratically_in_attention_alone():
    one = cost.training_flops(model(), 100, 1)
    assert cost.training_flops(model(), 100, 7) == 7 * one
    products = 6 * (2 * 768 + 8 * 100)
    assert one == 32 * products + 6 * 2 * 16 * 32 * 32
    assert cost.training_flops(model(), 100, 1, sequence_length=64) - 2 * one == 2 * 6 * 2 * 16 * 32 * 32


def test_generation_flops():
    reading, writing = cost.generation_flops(model(), 100, 3, prompt_tokens=10, new_tokens=0)
    assert writing == 0 and reading == 3 * (2 * 2 * 768 * 10 + 4 * 2 * 16 * 50)
    nothing, written = cost.generation_flops(model(), 100, 3, prompt_tokens=0, new_tokens=10)
    assert nothing == 0 and written - reading == 3 * 2 * 8 * 100 * 10  # the logits


def test_memory_by_precision_and_layout():
    bf16, fp32 = (
        cost.memory(model(), training(precision=precision), Launch(ranks_per_node=4), 100, False)
        for precision in ("bf16", "fp32")
    )
    count = cost.parameters(model(), 100).total
    assert bf16.parameters == fp32.parameters == count
    assert (bf16.weights, bf16.gradients, bf16.optimizer) == (2 * count, 4 * count, 12 * count)
    assert (fp32.weights, fp32.gradients, fp32.optimizer) == (4 * count, 4 * count, 8 * count)
    shared = cost.memory(model(), training(precision="bf16"), Launch(ranks_per_node=4), 100, True)
    assert shared.optimizer == -(-12 * count // 4) and shared.weights == bf16.weights
    halves = cost.memory(model(), training(precision="bf16"), Launch(ranks_per_node=4, tensor_parallel=2), 100, False)
    assert halves.weights < bf16.weights and halves.activations < bf16.activations


def test_recomputation_needs_less_memory():
    deep = model(num_layers=24)
    whole, again = (
        cost.memory(deep, training(megatron=flags), Launch(), 100, False).activations
        for flags in ({}, {**FULL, "recompute-method": "uniform", "recompute-num-layers": 1})
    )
    assert again < whole / 3


@pytest.mark.parametrize(
    ("method", "number", "kept"),
    [
        ("block", 1, 2 * (1 * 16 + 11 * 352) + 352),
        ("block", 5, 2 * (5 * 16 + 7 * 352) + 352),
        ("block", 100, 2 * 12 * 16 + 352),
        ("uniform", 1, 2 * 12 * 16 + 352),
        ("uniform", 5, 2 * 3 * 16 + 5 * 352),
        ("uniform", 100, 2 * 1 * 16 + 12 * 352),
    ],
)
def test_how_many_layers_are_recomputed_counts(method, number, kept):
    """24 layers on 2 stages. Per token a layer keeps 2 x (4 x 8 + 32 + 2 x 24 + 16 + 3 x 16) = 352 bytes, of which 16
    are its input; the logits take 10 bytes each. A micro-batch has 64 tokens."""
    flags = {**FULL, "recompute-method": method, "recompute-num-layers": number}
    deep, launch = model(num_layers=24), Launch(ranks_per_node=2, pipeline_parallel=2)
    assert cost.memory(deep, training(), launch, 100, False).activations == 64 * (24 * 352 + 1000)
    found = cost.memory(deep, training(megatron=flags), launch, 100, False)
    assert found.activations == 64 * (kept + 1000)


@pytest.mark.parametrize(
    ("precision", "distributed", "bytes_each"),
    [("bf16", False, 14), ("bf16", True, 14), ("fp32", False, 12), ("fp32", True, 16)],
)
def test_a_checkpoint_has_no_gradients(precision, distributed, bytes_each):
    launch = Launch(distributed_optimizer=distributed)
    assert cost.checkpoint_bytes(training(precision=precision), launch, 10) == 10 * bytes_each
