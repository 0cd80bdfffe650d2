"""Nucleus sampling of one token per row without sorting the vocabulary: the CPU's way of `token_sampling.sample`."""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED

_STEPS = 16
"""Classes per power of two: the top 4 bits of the mantissa."""
_LOWEST = 127 - 40
"""Exponent (biased) of 2^-40: smaller probabilities share one class."""
_CLASSES = 41 * _STEPS + 1


@numba.njit(cache=CACHED)
def _class_of(bits: int) -> int:
    """Class of a float32 in [0, 1] by its bits; ascending with the value."""
    return min(max((bits >> 19) - _LOWEST * _STEPS, 0), _CLASSES - 1)


@numba.njit(cache=CACHED)
def invert(probabilities: np.ndarray, uniform: np.ndarray, top_p: float) -> np.ndarray:
    """Draws a token per row by inverting the nucleus's cumulative distribution, tokens in the order of their ids.

    The nucleus is the smallest set of most probable tokens with probability `top_p` or more; of tokens that are equally
    probable at its edge those with the lower ids belong to it. Probabilities are summed in float64 by classes of size,
    and only the class with the edge is sorted.

    Args:
        probabilities: float32 [rows, vocabulary], each row a distribution up to rounding.
        uniform: float64 [rows], in [0, 1).
        top_p: above 0; from 1 on every token that is possible at all belongs to the nucleus.

    Returns:
        int64 [rows].
    """
    if top_p >= 1.0:  # rounded sums may reach 1 too early
        top_p = 2.0
    rows, vocabulary = probabilities.shape
    result = np.empty(rows, np.int64)
    masses, counts = np.zeros(_CLASSES, np.float64), np.zeros(_CLASSES, np.int64)
    for row in range(rows):
        values = probabilities[row]
        bits = values.view(np.int32)
        masses[:] = 0.0
        counts[:] = 0
        for token in range(vocabulary):
            place = _class_of(bits[token])
            masses[place] += values[token]
            counts[place] += 1
        # Whole classes from the top, down to the one in which top_p is reached.
        mass = 0.0
        edge = _CLASSES - 1
        while edge > 0 and mass + masses[edge] < top_p:
            mass += masses[edge]
            edge -= 1
        members = np.empty(counts[edge], np.float32)
        found = 0
        for token in range(vocabulary):
            if _class_of(bits[token]) == edge:
                members[found] = values[token]
                found += 1
        members.sort()
        threshold, equals = np.float32(2.0), 0
        while found > 0 and (mass < top_p):
            found -= 1
            mass += members[found]
            equals = equals + 1 if members[found] == threshold else 1
            threshold = members[found]
        if mass < top_p:  # all of them
            threshold = np.float32(0.0)
        goal = uniform[row] * mass
        cumulative = 0.0
        last = -1
        for token in range(vocabulary):
            value = values[token]
            if value < threshold or value == 0.0:
                continue
            if value == threshold:
                if equals == 0:
                    continue
                equals -= 1
            last = token
            cumulative += value
            if cumulative > goal:
                break
        result[row] = last
    return result
