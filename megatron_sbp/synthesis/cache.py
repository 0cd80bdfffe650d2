"""Key-value cache with preallocated memory.

transformers' own cache copies everything for every new token: half of the time of a small model on CPU.
Shape suffixes: B batch, G key/value heads, S tokens so far, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.cache_utils import Cache, DynamicLayer

_ROOM = 64
"""Number of tokens by which a full layer grows."""


class RoomyLayer(DynamicLayer):
    """One layer: `keys` and `values` are the used parts [B, G, S, D] of larger tensors."""

    keys: torch.Tensor
    values: torch.Tensor
    _all: tuple[torch.Tensor, ...]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends the new tokens' keys and values [B, G, new, D]; returns all of them."""
        used = self.keys.shape[2] if self.is_initialized else 0
        end = used + key_states.shape[2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._all = (key_states[:, :, :0], value_states[:, :, :0])
        if end > self._all[0].shape[2]:
            self._all = tuple(_grown(old, used, end + _ROOM) for old in self._all)
        self._all[0][:, :, used:end] = key_states
        self._all[1][:, :, used:end] = value_states
        self.keys, self.values = self._all[0][:, :, :end], self._all[1][:, :, :end]
        return self.keys, self.values

    def join(self, parts: Sequence[RoomyLayer], rows: Sequence[torch.Tensor]) -> None:
        """Replaces the parts: see `RoomyCache.joined`."""
        count, used = sum(map(len, rows)), max(part.keys.shape[2] for part in parts)
        self.lazy_initialization(parts[0].keys, parts[0].values)
        first = parts[0].keys
        shape = (count, first.shape[1], used + _ROOM, first.shape[3])
        self._all = (first.new_zeros(shape), parts[0].values.new_zeros(shape))
        for part, places in zip(parts, rows, strict=True):
            begin = used - part.keys.shape[2]
            self._all[0][places, :, begin:used] = part.keys
            self._all[1][places, :, begin:used] = part.values
            part.reset()
            part._all = ()
        self.keys, self.values = self._all[0][:, :, :used], self._all[1][:, :, :used]

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps these rows of the batch."""
        used = self.keys.shape[2]
        self._all = tuple(_grown(part[indices], used, used + _ROOM) for part in (self.keys, self.values))
        self.keys, self.values = self._all[0][:, :, :used], self._all[1][:, :, :used]


class RoomyCache(Cache):
    """A cache of RoomyLayers.

    Args:
        layers: of the model.
    """

    def __init__(self, layers: int):
        super().__init__(layers=[RoomyLayer() for _ in range(layers)])

    @classmethod
    def joined(cls, parts: Sequence[RoomyCache], rows: Sequence[torch.Tensor]) -> RoomyCache:
        """Joins the caches of several batches, aligned at their ends; shorter ones are padded with zeros at the front.

        Args:
            parts: the caches; each gives up its memory.
            rows: for each part, the indices of its rows in the joint batch, integers.
        """
        cache = cls(len(parts[0].layers))
        for number, layer in enumerate(cache.layers):
            layer.join([part.layers[number] for part in parts], rows)
        return cache


def _grown(old: torch.Tensor, used: int, room: int) -> torch.Tensor:
    larger = old.new_empty(old.shape[0], old.shape[1], room, old.shape[3])
    larger[:, :, :used] = old[:, :, :used]
    return larger
