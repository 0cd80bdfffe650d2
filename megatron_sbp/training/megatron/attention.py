"""Core attention within the pairs of a packed sequence: with torch, and with Transformer Engine.

Both get the pair boundaries as `cumulative_lengths`, which the model passes through in place of a mask: integers [N +
1] over the concatenated sequences of a micro-batch, from 0 to B S. Torch's attention processes segment by segment on a
CPU and builds a mask on a GPU; Transformer Engine's takes them as `cu_seqlens`.

Shape suffixes: S sequence, B batch, T = B S tokens of a micro-batch, H query heads of this rank, G key/value heads of
this rank, D channels of a head, N segments (pairs, and the padding at a sequence's end).
"""

from __future__ import annotations

import importlib.util
import math

import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.utils import divide

from megatron_sbp.base.errors import InputError
from megatron_sbp.training.megatron import state

_FLASH_ATTENTION = importlib.util.find_spec("flash_attn") is not None


class SdpaAttention(MegatronModule):
    """Drop-in for Megatron's DotProductAttention, with the same constructor and forward arguments.

    Causal by default. `attention_mask` is either None, a boolean mask in Megatron's sense (True: may not attend; [B, 1,
    S, S]), or the cumulative lengths of packed segments, int32 [N + 1]: a token attends only to earlier tokens of its
    own segment. Without a mask, memory is linear in S if torch has a fused kernel; with a mask, it is quadratic.

    Raises:
        InputError: context parallelism or an unsupported attention variant.
    """

    def __init__(  # noqa: PLR0917 - Megatron's signature
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
            raise InputError("context parallelism needs Transformer Engine's attention")
        for name, plain in (("softmax_type", "vanilla"), ("window_size", None)):
            if getattr(config, name, plain) != plain:
                raise InputError(f"{name}={getattr(config, name)} needs Transformer Engine's attention")
        tensor_group = pg_collection.tp if pg_collection else state.tensor_group()
        self.query_heads = divide(config.num_attention_heads, tensor_group.size())
        self.dropout = config.attention_dropout if attention_dropout is None else attention_dropout
        self.scale = softmax_scale or 1.0 / math.sqrt(config.kv_channels)

    def forward(  # noqa: PLR0917 - Megatron's signature
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        attn_mask_type: AttnMaskType | None = None,
        attention_bias: torch.Tensor | None = None,
        packed_seq_params: None = None,
    ) -> torch.Tensor:
        """Attention of query [S, B, H, D] over key and value [S, B, G, D]; returns [S, B, H * D]."""
        assert attention_bias is None and packed_seq_params is None
        if attention_mask is None or attention_mask.dim() == 4:
            allowed = None if attention_mask is None else ~attention_mask
            return self._attend(query, key, value, allowed)
        if attention_mask.device.type != "cpu":
            return self._attend(query, key, value, inside_segments(attention_mask, query.size(1), query.size(0)))
        # On a CPU, segment by segment, without computing across pairs. (On a GPU, this would be many small kernels.)
        flat = [end_to_end(tensor)[:, None] for tensor in (query, key, value)]
        sizes = attention_mask.diff().tolist()
        queries, keys, values = (tensor.split(sizes) for tensor in flat)
        parts = [self._attend(*part, None) for part in zip(queries, keys, values, strict=True)]
        return side_by_side(torch.cat(parts), query.size(1))

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, allowed: torch.Tensor | None
    ) -> torch.Tensor:
        return attend(query, key, value, allowed, dropout=self.dropout if self.training else 0.0, scale=self.scale)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    allowed: torch.Tensor | None,
    *,
    dropout: float,
    scale: float | None,
) -> torch.Tensor:
    """Torch's attention where `allowed` is True.

    Args:
        query: [S, B, H, D].
        key: [S, B, G, D].
        value: like `key`.
        allowed: bool [B, 1, S, S]; None: causal.
        dropout: share of the probabilities that is dropped.
        scale: of the scores; None is 1 / sqrt(D).

    Returns:
        [S, B, H * D].
    """
    output_BHSD = torch.nn.functional.scaled_dot_product_attention(
        query.permute(1, 2, 0, 3),
        key.permute(1, 2, 0, 3),
        value.permute(1, 2, 0, 3),
        attn_mask=allowed,
        dropout_p=dropout,
        is_causal=allowed is None,
        scale=scale,
        enable_gqa=query.size(2) != key.size(2),
    )
    return output_BHSD.permute(2, 0, 1, 3).reshape(query.size(0), query.size(1), -1)


def has_packed_kernel(dtype: torch.dtype) -> bool:
    """Whether Transformer Engine has a kernel for packed pairs on this GPU.

    Flash attention supports them from Ampere on, cuDNN from Hopper on, both in half precision. The fallback is its
    unfused attention, which pads every pair to the length of the sequence (before 2.12: none).
    """
    if dtype == torch.float32:
        return False
    return _FLASH_ATTENTION or torch.cuda.get_device_capability() >= (9, 0)


def cumulative_lengths(segments_BS: torch.Tensor) -> torch.Tensor:
    """Boundaries of the segments of packed sequences: int32 [N + 1] over B S tokens, the first 0, the last B S.

    Args:
        segments_BS: integers [B, S], number of the segment of every token, in ascending order in each sequence. On the
            CPU, this requires no device synchronization.
    """
    change_BS = torch.ones_like(segments_BS, dtype=torch.bool)  # a sequence begins a new segment
    change_BS[:, 1:] = segments_BS[:, 1:] != segments_BS[:, :-1]
    begins = change_BS.flatten().nonzero().flatten()
    return torch.cat([begins, begins.new_tensor([segments_BS.numel()])]).to(torch.int32)


def inside_segments(lengths: torch.Tensor, batch: int, length: int) -> torch.Tensor:
    """Causal mask within segments: bool [B, 1, S, S], True where the query (row) may attend to the key (column).

    Args:
        lengths: int32 [N + 1], see `cumulative_lengths`.
        batch: B.
        length: S.
    """
    tokens_T = torch.arange(batch * length, device=lengths.device)
    segments_BS = torch.bucketize(tokens_T, lengths[1:], right=True).view(batch, length)
    causal_SS = torch.ones(length, length, dtype=torch.bool, device=lengths.device).tril()
    return ((segments_BS[:, :, None] == segments_BS[:, None, :]) & causal_SS)[:, None]


def end_to_end(tensor_SBHD: torch.Tensor) -> torch.Tensor:
    """Concatenates the sequences of a micro-batch: [S, B, H, D] to [T, H, D], in the order of `cumulative_lengths`."""
    return tensor_SBHD.transpose(0, 1).reshape(-1, *tensor_SBHD.shape[2:])


def side_by_side(tensor_TX: torch.Tensor, batch: int) -> torch.Tensor:
    """The inverse for an output: [T, ...] to [S, B, H * D]."""
    return tensor_TX.reshape(batch, tensor_TX.size(0) // batch, -1).transpose(0, 1).contiguous()
