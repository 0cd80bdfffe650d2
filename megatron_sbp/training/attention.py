"""Core attention on torch's scaled_dot_product_attention: for CPU ranks and for GPUs without Transformer Engine.

Shape suffixes: S sequence, B batch, H query heads of this rank, G key/value heads of this rank, D channels of a head.
"""

from __future__ import annotations

import math

import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.utils import divide


class SdpaAttention(MegatronModule):
    """Drop-in for Megatron's DotProductAttention, by the same constructor and forward arguments.

    Causal by default. `attention_mask` is either None, a boolean mask in Megatron's sense (True: may not attend;
    [B, 1, S, S]), or the segments of packed sequences: integers [B, S], where a token attends to earlier tokens of its
    own segment only. Memory is linear in S without a mask where torch has a fused kernel, quadratic with one.

    Raises:
        ValueError: context parallelism or an attention variant that it does not have.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        cp_comm_type: str | None = None,
        pg_collection: ProcessGroupCollection | None = None,
    ):
        super().__init__(config=config)
        if config.context_parallel_size != 1:
            raise ValueError("context parallelism needs Transformer Engine's attention")
        for name, plain in (("softmax_type", "vanilla"), ("window_size", None)):
            if getattr(config, name, plain) != plain:
                raise ValueError(f"{name}={getattr(config, name)} needs Transformer Engine's attention")
        groups = pg_collection or ProcessGroupCollection.use_mpu_process_groups(required_pgs=["tp"])
        self.query_heads = divide(config.num_attention_heads, groups.tp.size())
        self.dropout = config.attention_dropout if attention_dropout is None else attention_dropout
        self.scale = softmax_scale or 1.0 / math.sqrt(config.kv_channels)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        attn_mask_type: AttnMaskType | None = None,
        attention_bias: torch.Tensor | None = None,
        packed_seq_params=None,
    ) -> torch.Tensor:
        """Attention of query [S, B, H, D] over key and value [S, B, G, D]; returns [S, B, H * D]."""
        assert attention_bias is None and packed_seq_params is None
        allowed = None
        if attention_mask is not None:
            allowed = same_segment(attention_mask) if attention_mask.dim() == 2 else ~attention_mask
        output_BHSD = torch.nn.functional.scaled_dot_product_attention(
            query.permute(1, 2, 0, 3),
            key.permute(1, 2, 0, 3),
            value.permute(1, 2, 0, 3),
            attn_mask=allowed,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=allowed is None,
            scale=self.scale,
            enable_gqa=self.query_heads != key.size(2),
        )
        return output_BHSD.permute(2, 0, 1, 3).reshape(query.size(0), query.size(1), -1)


def same_segment(segments_BS: torch.Tensor) -> torch.Tensor:
    """Causal mask inside segments: bool [B, 1, S, S], True where the query (row) may attend to the key (column)."""
    length = segments_BS.size(1)
    causal_SS = torch.ones(length, length, dtype=torch.bool, device=segments_BS.device).tril()
    return ((segments_BS[:, :, None] == segments_BS[:, None, :]) & causal_SS)[:, None]
