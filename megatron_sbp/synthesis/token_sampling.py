"""Sampling tokens: a random stream per document, and the nucleus.

The uniform number for position t of a document is a hash of (run seed, seed document, generation, t) and nothing else:
it does not depend on the batch, the worker, or earlier samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.nucleus import invert


def stream_keys(generations: Sequence[Generation], seed: int) -> np.ndarray:
    """Key of every document's random stream: uint64 [generations]."""
    rows = np.array([generation.row for generation in generations], np.uint64)
    numbers = np.array([generation.number for generation in generations], np.uint64)
    return _mix(_mix(_mix(np.full(len(generations), seed, np.uint64)) ^ rows) ^ numbers)


def uniforms(keys: np.ndarray, position: int) -> np.ndarray:
    """Uniform numbers in [0, 1) for one position of every stream: float64 [generations], 53 random bits each."""
    return (_mix(keys ^ _mix(np.uint64(position + 1))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(value: np.ndarray | np.uint64) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea, Flood 2014): every bit of the input moves every bit of the output."""
    with np.errstate(over="ignore"):
        mixed: np.ndarray = np.atleast_1d(value) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def sample(logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Draws one token per row by inverting the nucleus's cumulative distribution at `uniform`, in the order of ids.

    The nucleus is the smallest set of most probable tokens with probability top_p or more (Holtzman et al. 2020); of
    tokens that are equally probable at its edge those with the lower ids belong to it. Exact for every vocabulary: no
    token of the nucleus is left out.

    Args:
        logits: float [rows, vocabulary]; -inf for forbidden tokens.
        uniform: float64 [rows], in [0, 1).
        temperature: divides the logits.
        top_p: above 0, at most 1.

    Returns:
        int64 [rows].
    """
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    if logits.device.type == "cpu":
        return torch.from_numpy(invert(probabilities.numpy(), uniform.numpy(), top_p))
    return invert_sorted(probabilities, uniform, top_p)


def invert_sorted(probabilities: torch.Tensor, uniform: torch.Tensor, top_p: float) -> torch.Tensor:
    """`nucleus.invert` by torch's sort, for GPUs. The two may differ through the rounding of sums in a different order.

    Args:
        probabilities: float32 [rows, vocabulary].
        uniform: float64 [rows].
        top_p: above 0; from 1 on every token that is possible at all belongs to the nucleus.

    Returns:
        int64 [rows].
    """
    # float64: a float32 sum over a large vocabulary can fall short of top_p.
    ordered, order = probabilities.double().sort(dim=1, descending=True, stable=True)
    reached = ordered.cumsum(dim=1) - ordered >= (top_p if top_p < 1.0 else 2.0)
    inside = ~reached & (ordered > 0)
    inside[:, 0] = True
    kept = torch.zeros_like(ordered).scatter_(1, order, ordered * inside)
    cumulative = kept.cumsum(dim=1)
    goal = uniform[:, None] * (ordered * inside).sum(dim=1, keepdim=True)
    place = torch.searchsorted(cumulative, goal, right=True)[:, 0]
    last = probabilities.size(1) - 1 - (kept > 0).flip(1).int().argmax(dim=1)
    return torch.minimum(place, last)
