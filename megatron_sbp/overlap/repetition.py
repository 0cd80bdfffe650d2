"""Internal repetition: how much of a text repeats earlier parts of it."""

from __future__ import annotations

from megatron_sbp.overlap.ngrams import ngrams


def repeated_share(text: str, n: int = 4) -> float:
    """Share of the word n-grams of a text that repeat an earlier one of the same text.

    Args:
        text: words are separated by white space.
        n: words in an n-gram.

    Returns:
        Between 0 (none repeats) and nearly 1 (a loop); 0 for a text with fewer than n words.
    """
    found = list(ngrams(text.split(), n))
    return 1.0 - len(set(found)) / len(found) if found else 0.0
