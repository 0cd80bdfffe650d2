"""Attention for generation on CPU: torch's scaled_dot_product_attention straight on the key and value heads.

transformers repeats keys and values for every query head when there is a mask; on CPU that takes three times as long as
the attention itself.
"""

from __future__ import annotations

import torch
from transformers import AttentionInterface

NAME = "sbp_grouped"
"""Its name for `attn_implementation`, after `register`."""


def register() -> None:
    """Registers it with transformers."""
    AttentionInterface.register(NAME, grouped_attention)


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    *,
    scaling: float | None = None,
    **ignored: object,
) -> tuple[torch.Tensor, None]:
    """Attention of query [B, H, new, D] over key and value [B, G, S, D], H a multiple of G.

    Args:
        module: the layer.
        query: of the new tokens; B batch, H query heads, D channels of a head.
        key: of all tokens so far (S); G key/value heads.
        value: like `key`.
        attention_mask: bool [B, 1, new, S], True where attention is allowed; every row allows at least one token.
        scaling: of the scores; None is 1 / sqrt(D).

    Returns:
        [B, new, H, D], and None for the weights.
    """
    assert attention_mask.dtype == torch.bool and attention_mask.dim() == 4
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=query.size(1) != key.size(1)
    )
    return output.transpose(1, 2).contiguous(), None
