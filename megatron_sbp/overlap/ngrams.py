"""Word n-grams. nltk has them, too, but its import takes seconds in every process: it brings SciPy and scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice


def ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Every run of n words, in order; none where there are fewer."""
    return zip(*(islice(words, begin, None) for begin in range(n)), strict=False)
