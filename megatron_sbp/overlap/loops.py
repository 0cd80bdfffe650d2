"""Measures of token loops in a text, which also work in languages without white space between words."""

from __future__ import annotations

import numba
import numpy as np

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.overlap.shingles import shingle_hashes

RUN = 8
"""Run length of `repeated_token_share` in tokens: about six words of English, a clause of Chinese."""


def repeated_token_share(tokens: np.ndarray, n: int = RUN) -> float:
    """Share of the runs of n tokens of a text that repeat an earlier one of the same text.

    Args:
        tokens: integers [length], without end-of-document.
        n: tokens in a run.

    Returns:
        Between 0 (none repeats) and nearly 1 (a loop); 0 for a text of fewer than n tokens.
    """
    runs = len(tokens) - n + 1
    return 1.0 - len(shingle_hashes(tokens, n)) / runs if runs > 0 else 0.0


def periodic_tail(tokens: np.ndarray) -> float:
    """Share of a text's tokens that form a loop at its end, each repeating the token one period before.

    Uses the period with the most repeating tokens. A tail counts if it has at least one period, so its last period
    occurs twice in a row; a sentence repeated elsewhere in the text is not a loop.

    Args:
        tokens: integers [length], without end-of-document.

    Returns:
        Between 0 and nearly 1: 0.25 for a text whose last quarter repeats the tokens before it.
    """
    if not len(tokens):
        return 0.0
    return int(_repeating(np.ascontiguousarray(np.asarray(tokens)[::-1]))) / len(tokens)


@numba.njit(cache=CACHED)
def _repeating(backwards: np.ndarray) -> int:
    """Maximum number of tokens at the end that equal those one period before; the text is reversed.

    For a period p, this is the length of the longest common prefix of `backwards` and `backwards` without its first p
    tokens: the Z-algorithm (Gusfield 1997) finds those of all p in linear time.
    """
    length = backwards.size
    same = np.zeros(length, np.int64)
    begin = end = most = 0
    for period in range(1, length):
        known = min(end - period, same[period - begin]) if period < end else 0
        while period + known < length and backwards[known] == backwards[period + known]:
            known += 1
        same[period] = known
        if period + known > end:
            begin, end = period, period + known
        if known >= period and known > most:
            most = known
    return most
