"""Keys and values in memory taken in advance: the same as transformers' own cache."""

from __future__ import annotations

import torch
from transformers.cache_utils import DynamicCache

from megatron_sbp.synthesis.cache import _ROOM, RoomyCache


def test_the_same_as_transformers_own_cache():
    generator = torch.Generator().manual_seed(1)
    ours, theirs = RoomyCache(2), DynamicCache()
    for step, new in enumerate([5, *[1] * (2 * _ROOM)]):
        for layer in range(2):
            keys, values = (torch.randn(3 if step < 70 else 2, 2, new, 4, generator=generator) for _ in range(2))
            mine, other = ours.update(keys, values, layer), theirs.update(keys, values, layer)
            assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
        if step == 69:
            kept = torch.tensor([2, 0])
            ours.batch_select_indices(kept)
            theirs.batch_select_indices(kept)
    assert ours.get_seq_length() == theirs.get_seq_length() == 5 + 2 * _ROOM


def test_joined_batches_end_at_the_same_place_and_go_on():
    parts = [RoomyCache(2), RoomyCache(2)]
    given = [torch.randn(2, 3, 5, 4), torch.randn(1, 3, 2, 4)]
    for part, keys in zip(parts, given, strict=True):
        for layer in range(2):
            part.update(keys, -keys, layer)
    cache = RoomyCache.joined(parts, [torch.tensor([2, 0]), torch.tensor([1])])
    expected = torch.zeros(3, 3, 5, 4)
    expected[[2, 0]], expected[1, :, 3:] = given[0], given[1][0]
    new = torch.randn(3, 3, 1, 4)
    for layer in range(2):
        assert cache.get_seq_length(layer) == 5
        keys, values = cache.update(new, -new, layer)
        assert torch.equal(keys, torch.cat([expected, new], 2)) and torch.equal(values, -keys)


def test_what_was_given_is_not_written_over():
    cache = RoomyCache(1)
    first = torch.ones(1, 1, 2, 4)
    cache.update(first, first, 0)
    cache.update(torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 4), 0)
    assert torch.equal(first, torch.ones(1, 1, 2, 4))
