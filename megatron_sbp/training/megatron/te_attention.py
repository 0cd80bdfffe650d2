"""Transformer Engine's core attention, aware of pair boundaries in packed sequences (needs Transformer Engine)."""

from __future__ import annotations

import torch
from megatron.core.extensions.transformer_engine import TEDotProductAttention
from megatron.core.packed_seq_params import PackedSeqParams

from megatron_sbp.training.megatron.attention import (
    attend,
    end_to_end,
    has_packed_kernel,
    inside_segments,
    side_by_side,
)


class PackedTEAttention(TEDotProductAttention):
    """TEDotProductAttention that interprets a one-dimensional mask as cumulative lengths (`cu_seqlens`).

    Only this module concatenates the micro-batch (its "thd" format): everything around it, including pipeline stages
    and their buffers, uses [S, B, ...]. Rotary embedding is relative, so it needs no restart inside a sequence. If
    Transformer Engine has no kernel for this, torch's attention with a mask is used.
    """

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *args: object,
        packed_seq_params: PackedSeqParams | None = None,
        **kwargs: object,
    ) -> torch.Tensor:
        """Like TEDotProductAttention; query [S, B, H, D], key and value [S, B, G, D]; returns [S, B, H * D]."""
        if attention_mask is None or attention_mask.dim() != 1:
            return super().forward(
                query, key, value, attention_mask, *args, packed_seq_params=packed_seq_params, **kwargs
            )
        length, batch = query.shape[:2]
        if not has_packed_kernel(query.dtype):
            dropout = self.config.attention_dropout if self.training else 0.0
            allowed = inside_segments(attention_mask, batch, length)
            return attend(query, key, value, allowed, dropout=dropout, scale=self.config.softmax_scale)
        parameters = PackedSeqParams(
            qkv_format="thd",
            cu_seqlens_q=attention_mask,
            cu_seqlens_kv=attention_mask,
            max_seqlen_q=length,  # upper bound; the exact maximum would require synchronization
            max_seqlen_kv=length,
        )
        flat = (end_to_end(tensor) for tensor in (query, key, value))
        return side_by_side(super().forward(*flat, None, *args, packed_seq_params=parameters, **kwargs), batch)
