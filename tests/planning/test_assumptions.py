"""What the plan's estimates rest on: told with its reason, and in line with what else is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base.gpus import MEMORY_GB, PEAK_TFLOPS
from megatron_sbp.planning.assumptions import ASSUMPTIONS, EMBEDDERS, UNKNOWN_EMBEDDER, assumed, bytes_per_token
from megatron_sbp.planning.hardware import Hardware
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


def test_every_assumption_is_positive_and_has_a_reason():
    for name, (value, why) in ASSUMPTIONS.items():
        assert value > 0 and why and assumed(name) == value
    assert all(assumed(share) <= 1 for share in ("training_mfu", "generation_mfu"))


def test_an_assumption_that_nobody_made_is_an_error():
    with pytest.raises(KeyError):
        assumed("luck")


def test_the_gpu_of_the_assumptions_is_an_h100():
    assert assumed("peak_flops") == pytest.approx(PEAK_TFLOPS["H100"] * 1e12, rel=1e-3)
    assert assumed("device_bytes") == MEMORY_GB["H100"] * 1e9
    assert Hardware().peak_flops == assumed("peak_flops")


def test_tokens_of_a_document_are_those_of_dclm():
    assert assumed("tokens_per_document") == pytest.approx(482e9 / 582e6, rel=1e-3)


def test_weights_of_known_embedders_by_their_shapes():
    """Qwen3-Embedding-0.6B: 28 layers, 16 heads and 8 groups of 128. MiniLM-L6: 6 layers of BERT."""
    wide, heads, groups, inner = 1024, 16 * 128, 8 * 128, 3072
    assert EMBEDDERS["qwen3-embedding-0.6b"] == (
        wide, 28 * (wide * (heads + 2 * groups) + heads * wide + 3 * wide * inner)
    )  # fmt: skip
    assert EMBEDDERS["minilm-l6"] == (384, 6 * (4 * 384 * 384 + 2 * 384 * 1536))
    assert UNKNOWN_EMBEDDER in EMBEDDERS


def test_the_plan_tells_all_of_them():
    recipe = load_recipe(TINY)
    told = make_plan(recipe)["assumptions"]
    assert told["bytes_per_token"].pop("value") == round(bytes_per_token(recipe.tokenizer.vocab_size), 2)
    told["bytes_per_token"]["value"] = assumed("bytes_per_token")
    assert told == {name: {"value": value, "why": why} for name, (value, why) in ASSUMPTIONS.items()}


@pytest.mark.parametrize(
    "vocab, measured",
    [
        (2_048, 604.8 * 400 / (82_438 - 400)),  # examples/quickstart: bytes of text, and tokens without the ends
        (4_096, 1_170_452 / (358_970 - 3_000)),  # examples/debian_docs
        (49_152, 4.5),
        (50_257, 4.5),
    ],
)
def test_bytes_of_a_token_are_those_of_tokenizers_that_were_measured(vocab, measured):
    assert bytes_per_token(vocab) == pytest.approx(measured, rel=0.02)


def test_a_token_has_one_byte_at_least():
    assert 1 <= bytes_per_token(16) <= bytes_per_token(259) < bytes_per_token(1_024) < bytes_per_token(32_768)
