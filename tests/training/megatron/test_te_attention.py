"""What is handed to Transformer Engine, and what becomes of its answer. Its kernels: tests/gpu.

A class that computes attention over `cu_seqlens` with torch stands in for Transformer Engine's, which needs a GPU.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from types import SimpleNamespace

import pytest
import torch
from megatron.core.extensions import transformer_engine

from megatron_sbp.training.megatron import attention as megatron_attention
from megatron_sbp.training.megatron.attention import cumulative_lengths, inside_segments

S, B, H, G, D = 21, 3, 4, 2, 8
MODULE = "megatron_sbp.training.megatron.te_attention"


class VariableLength:
    """Attention [T, H, D] over [T, G, D] inside the segments of `cu_seqlens`, each computed alone: [T, H * D]."""

    def __init__(self):
        self.asked = []

    def forward(self, query, key, value, attention_mask, *args, packed_seq_params=None, **kwargs):
        self.asked.append((query, attention_mask, args, packed_seq_params, kwargs))
        if packed_seq_params is None:
            return query
        assert packed_seq_params.qkv_format == "thd" and attention_mask is None
        assert packed_seq_params.cu_seqlens_q is packed_seq_params.cu_seqlens_kv
        ends = packed_seq_params.cu_seqlens_q.tolist()
        assert max(end - begin for begin, end in itertools.pairwise(ends)) <= packed_seq_params.max_seqlen_q
        parts = []
        for begin, end in itertools.pairwise(ends):
            q, k, v = (tensor[begin:end].transpose(0, 1) for tensor in (query, key, value))
            k, v = (tensor.repeat_interleave(H // G, 0) for tensor in (k, v))
            scores = (q @ k.transpose(1, 2) / D**0.5).masked_fill(
                torch.ones(end - begin, end - begin).triu(1) > 0, -1e9
            )
            parts.append((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
        return torch.cat(parts)


@pytest.fixture
def attention(monkeypatch):
    """PackedTEAttention on top of the stand-in."""
    monkeypatch.setattr(transformer_engine, "TEDotProductAttention", VariableLength)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    module = importlib.import_module(MODULE)
    monkeypatch.setattr(module, "has_packed_kernel", lambda dtype: True)
    made = module.PackedTEAttention()
    monkeypatch.delitem(sys.modules, MODULE)  # no other test gets this one
    return made


@pytest.fixture
def inputs() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(S, B, heads, D, requires_grad=True) for heads in (H, G, G)]


def test_packed_pairs_attend_to_themselves_only(attention, inputs):
    segments = torch.sort(torch.randint(0, 4, (B, S)), dim=1).values
    lengths = cumulative_lengths(segments)
    assert len(lengths) > B + 2, "the test needs several pairs in a sequence"
    found = attention.forward(*inputs, lengths, "causal", attention_bias=None)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(tensor.permute(1, 2, 0, 3) for tensor in inputs), attn_mask=inside_segments(lengths, B, S), enable_gqa=True
    )
    expected = expected.permute(2, 0, 1, 3).flatten(2)
    assert found.shape == (S, B, H * D) and found.is_contiguous()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, inputs, weight), torch.autograd.grad(expected, inputs, weight), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    [(_, _, args, _, kwargs)] = attention.asked
    assert (args, kwargs) == (("causal",), {"attention_bias": None})


@pytest.mark.parametrize("mask", [None, torch.zeros(B, 1, S, S, dtype=torch.bool)], ids=["causal", "a mask"])
def test_everything_else_is_left_to_transformer_engine(attention, inputs, mask):
    assert attention.forward(*inputs, mask, "causal", attention_bias=None) is inputs[0]
    [(_, given, args, packed, kwargs)] = attention.asked
    assert given is mask and packed is None
    assert (args, kwargs) == (("causal",), {"attention_bias": None})


def test_pairs_for_which_there_is_no_kernel_are_a_mask_of_torchs_attention(attention, inputs, monkeypatch):
    lengths = cumulative_lengths(torch.sort(torch.randint(0, 4, (B, S)), dim=1).values)
    expected = attention.forward(*inputs, lengths, "causal")
    monkeypatch.setitem(type(attention).forward.__globals__, "has_packed_kernel", lambda dtype: False)
    attention.config, attention.training = SimpleNamespace(attention_dropout=0.5, softmax_scale=None), False
    found = attention.forward(*inputs, lengths, "causal")
    assert len(attention.asked) == 1 and found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "flash", "capability", "there"),
    [
        (torch.float32, True, (9, 0), False),
        (torch.bfloat16, True, (8, 0), True),
        (torch.bfloat16, False, (8, 9), False),
        (torch.bfloat16, False, (9, 0), True),
        (torch.float16, False, (10, 0), True),
    ],
)
def test_where_transformer_engine_goes_from_pair_to_pair(monkeypatch, dtype, flash, capability, there):
    """As its backends say of "thd": fused_attn.cpp (sm_arch_ >= 90) and utils.get_attention_backend."""
    monkeypatch.setattr(megatron_attention, "_FLASH_ATTENTION", flash)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert megatron_attention.has_packed_kernel(dtype) == there
