"""Attention on key and value heads as they are: the same as with heads repeated for every query head."""

from __future__ import annotations

import pytest
import torch

from megatron_sbp.synthesis.cached_attention import grouped_attention


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("new", "scaling"), [(1, None), (3, 0.25)])
def test_as_with_repeated_heads(groups, new, scaling):
    torch.manual_seed(1)
    query, key, value = torch.randn(2, 4, new, 8), *(torch.randn(2, groups, 5, 8) for _ in range(2))
    mask = torch.rand(2, 1, new, 5) > 0.4
    mask[..., 0] = True
    found, weights = grouped_attention(torch.nn.Module(), query, key, value, mask, scaling=scaling, dropout=0.0)
    scores = query @ key.repeat_interleave(4 // groups, 1).transpose(2, 3) * (scaling or 8**-0.5)
    attention = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    wanted = attention @ value.repeat_interleave(4 // groups, 1)
    assert weights is None and found.shape == (2, new, 4, 8) and found.is_contiguous()
    torch.testing.assert_close(found, wanted.transpose(1, 2))
