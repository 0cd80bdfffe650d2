"""Flags that a rank adds to Megatron's, by what is installed and where it runs."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from megatron_sbp.training.rank_flags import machine_flags


@pytest.mark.parametrize(
    ("installed", "fused"),
    [
        ({"transformer_engine", "amp_C", "fused_weight_gradient_mlp_cuda"}, True),
        ({"transformer_engine", "amp_C"}, False),
        ({"transformer_engine"}, False),
        (set(), False),
    ],
)
def test_gradients_are_accumulated_in_kernels_only_with_the_extension_that_the_output_layer_needs(
    monkeypatch, installed, fused
):
    """Megatron's ColumnParallelLinear raises without it, and a GPTModel's output layer is one, whatever its layers."""
    packages = {"transformer_engine", "amp_C", "fused_weight_gradient_mlp_cuda"}
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: name in installed or None if name in packages else real(name)
    )
    monkeypatch.setattr(sys, "argv", ["pretrain"])
    assert ("--no-gradient-accumulation-fusion" not in machine_flags(on_cpu=False)) == fused
    assert ("--transformer-impl" not in machine_flags(on_cpu=False)) == ("transformer_engine" in installed)


def test_rotary_embedding_is_fused_only_where_transformer_engine_is(monkeypatch):
    """Megatron asks for the fused one unless it is told not to, and raises where there is none."""
    found = {"transformer_engine": True}
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found[name] if name in found else real(name))
    for flags in ([], ["--transformer-impl", "local"]):
        monkeypatch.setattr(sys, "argv", ["pretrain", *flags])
        found["transformer_engine"] = True
        assert "--no-rope-fusion" not in machine_flags(on_cpu=False)
        assert "--no-rope-fusion" in machine_flags(on_cpu=True)
        found["transformer_engine"] = None
        assert "--no-rope-fusion" in machine_flags(on_cpu=False)


def test_ranks_on_a_cpu_read_the_data_themselves_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pretrain"])
    flags = machine_flags(on_cpu=True)
    assert flags[flags.index("--num-workers") + 1] == "0" and "--num-workers" not in machine_flags(on_cpu=False)
    monkeypatch.setattr(sys, "argv", ["pretrain", "--num-workers=3"])
    assert "--num-workers" not in machine_flags(on_cpu=True)


@pytest.mark.skipif(importlib.util.find_spec("transformer_engine") is not None, reason="Transformer Engine is here")
def test_megatron_has_no_fused_rotary_embedding_of_its_own():
    from megatron.core.transformer.transformer_config import TransformerConfig

    with pytest.raises(ValueError, match="apply_rope_fusion is not available"):
        TransformerConfig(num_layers=1, hidden_size=8, num_attention_heads=1, apply_rope_fusion=True)
