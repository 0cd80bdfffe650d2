"""Sampling tokens: a random stream per document, and the nucleus.

The uniform number for position t of a document is a hash of (run seed, seed document, draw, t) and of nothing else: not
of the batch, the worker, or what was sampled before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from megatron_sbp.synthesis.draws import Draw

NUCLEUS_FIRST = 256
"""Tokens looked at first for the nucleus; rows that need more are sorted whole, so the result is exact."""


def stream_keys(draws: Sequence[Draw], seed: int) -> np.ndarray:
    """Key of every document's random stream: uint64 [draws]."""
    rows = np.array([draw.row for draw in draws], np.uint64)
    numbers = np.array([draw.number for draw in draws], np.uint64)
    return _mix(_mix(_mix(np.full(len(draws), seed, np.uint64)) ^ rows) ^ numbers)


def uniforms(keys: np.ndarray, position: int) -> np.ndarray:
    """Uniform numbers in [0, 1) for one position of every stream: float64 [draws], 53 random bits each."""
    return (_mix(keys ^ _mix(np.uint64(position + 1))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(value: np.ndarray | np.uint64) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea, Flood 2014): every bit of the input moves every bit of the output."""
    with np.errstate(over="ignore"):
        value = np.atleast_1d(value) + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def sample(logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Draws one token per row by inverting the nucleus's cumulative distribution at `uniform`.

    The nucleus is the smallest set of most probable tokens with probability top_p or more; equal probabilities are
    ordered by token id.

    Args:
        logits: float [rows, vocabulary]; -inf for tokens that must not come.
        uniform: float64 [rows], in [0, 1).
        temperature: divides the logits.
        top_p: between 0 (excluded) and 1.

    Returns:
        int64 [rows].
    """
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    width = min(NUCLEUS_FIRST, logits.size(1))
    # A stable order among equals: first by id, then by probability.
    candidates = probabilities.topk(width, dim=-1, sorted=False).indices.sort(dim=-1).values
    values = probabilities.gather(1, candidates)
    chosen, covered = _invert(values, uniform, top_p)
    result = candidates.gather(1, chosen)[:, 0]
    # At the edge of the first candidates equals could stand outside: such rows are sorted whole, too.
    ties = (probabilities >= values.min(dim=1, keepdim=True).values).sum(1) > width
    rest = torch.nonzero(~covered | ties)[:, 0] if width < logits.size(1) else torch.empty(0, dtype=torch.long)
    if len(rest):
        whole, _ = _invert(probabilities[rest], uniform[rest], top_p)
        result[rest] = whole[:, 0]
    return result


def _invert(values: torch.Tensor, uniform: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Column of the drawn token [rows, 1], and whether the columns hold the whole nucleus [rows]."""
    ordered, order = values.sort(dim=1, descending=True, stable=True)
    # float64: a float32 sum over a large vocabulary can fall short of top_p.
    cumulative = ordered.double().cumsum(dim=1)
    covered = cumulative[:, -1] >= top_p
    inside = (cumulative - ordered.double()) < top_p
    mass = (ordered.double() * inside).sum(dim=1)
    place = torch.searchsorted(cumulative, (uniform.to(cumulative) * mass)[:, None], right=True)
    last = inside.sum(dim=1, keepdim=True) - 1
    return order.gather(1, torch.minimum(place, last)), covered | (cumulative[:, -1] >= 1.0 - 1e-9)
