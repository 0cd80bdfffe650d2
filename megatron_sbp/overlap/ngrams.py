"""Word n-grams. Not from nltk, whose import takes seconds in every process: it loads SciPy and scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice


def ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Every run of n words, in order; none for shorter texts."""
    return zip(*(islice(words, begin, None) for begin in range(n)), strict=False)
