"""Which layers the hybrid model can be built of; that it computes the same is in test_model_builder.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules

from megatron_sbp.training.megatron.hybrid_stack import ATTENTION_PART, MLP_PART, PairedStack, paired_stack


@pytest.fixture
def layer():
    return get_gpt_layer_local_spec(qk_layernorm=True, normalization="RMSNorm")


def test_a_layer_is_cut_into_attention_and_mlp(layer):
    stack = paired_stack(layer)
    assert stack.module is PairedStack
    attention, mlp = stack.submodules.attention_layer.submodules, stack.submodules.mlp_layer.submodules
    for name in ATTENTION_PART:
        assert getattr(attention, name) is getattr(layer.submodules, name)
    for name in MLP_PART:
        assert getattr(mlp, name) is getattr(layer.submodules, name)
    assert mlp.self_attention is IdentityOp and attention.mlp is IdentityOp


def test_equal_layers_of_a_block_and_its_norm(layer):
    norm = object()
    stack = paired_stack(TransformerBlockSubmodules(layer_specs=[layer] * 3, layer_norm=norm))
    assert stack.params["final_norm"] is norm


def test_layers_that_differ_or_have_more_parts_are_refused(layer):
    other = replace(layer)
    with pytest.raises(ValueError, match="layers that differ"):
        paired_stack(TransformerBlockSubmodules(layer_specs=[layer, other]))
    crossed = replace(layer, submodules=replace(layer.submodules, cross_attention=object()))
    with pytest.raises(ValueError, match="cross-attention"):
        paired_stack(crossed)
