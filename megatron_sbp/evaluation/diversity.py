"""How much the texts of a group differ among each other: distinct-n, self-BLEU, and how much of their vocabulary D has.

These figures move with the amount of text, so groups are compared on the same number of words, cut into the same number
of blocks; the interval is that over the blocks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from megatron_sbp.evaluation.confidence import estimate, mean_interval
from megatron_sbp.overlap.ngrams import ngrams

BLOCKS = 20
"""Blocks into which the words of a group are cut."""
LEAST_WORDS = 50
"""Of a block; with less text there are fewer blocks."""
DISTINCT = (1, 2, 3, 4)
"""Words in an n-gram of distinct-n."""
BLEU_DOCUMENTS, BLEU_WORDS = 50, 128
"""Documents of a group in self-BLEU, and the words that are read of each."""

Estimate = dict[str, float | None]
Piece = tuple[int, list[str]]
"""Place of a document in its group, and words of it, in lower case."""


def words_of(text: str) -> list[str]:
    """Words as all figures of this module count them: what white space separates, in lower case."""
    return text.lower().split()


def block_shape(words: Sequence[int]) -> tuple[int, int]:
    """Number of blocks and words in each, so that all groups have them; (0, 0) where there is too little text.

    Args:
        words: of each group.
    """
    blocks = min(BLOCKS, min(words, default=0) // LEAST_WORDS)
    return (blocks, min(words) // blocks) if blocks >= 2 else (0, 0)


def blocks_of(texts: Sequence[list[str]], blocks: int, size: int) -> list[list[Piece]]:
    """The first `blocks` x `size` words of a group, cut into blocks; no piece crosses a document.

    Args:
        texts: words of each document.
        blocks: how many.
        size: words in each.
    """
    found: list[list[Piece]] = [[] for _ in range(blocks)]
    taken = 0
    for place, words in enumerate(texts):
        while words and taken < blocks * size:
            room = size - taken % size
            found[taken // size].append((place, words[:room]))
            taken += len(words[:room])
            words = words[room:]
    return found


def over_blocks(blocks: Sequence[Sequence[Piece]], figure: Callable[[Sequence[Piece]], float]) -> Estimate:
    """Mean of a figure over blocks with Student's interval."""
    values = [figure(block) for block in blocks]
    return estimate(float(np.mean(values)) if values else None, mean_interval(values))


def distinct(block: Sequence[Piece], n: int) -> float:
    """Share of the word n-grams of a block that are distinct (Li et al. 2016); 0 for a block without any."""
    found = [gram for _, words in block for gram in ngrams(words, n)]
    return len(set(found)) / len(found) if found else 0.0


def self_bleu(texts: Sequence[list[str]]) -> list[float]:
    """BLEU-4 of every text against all the others (Zhu et al. 2018): high where texts are alike.

    nltk's sentence BLEU with smoothing method 1 of Chen and Cherry (2014).

    Args:
        texts: words of each; empty ones are left out.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    found = [words for words in texts if words]
    if len(found) < 2:
        return []
    smoothing = SmoothingFunction().method1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of texts without a common 4-gram
        return [
            float(sentence_bleu(found[:place] + found[place + 1 :], words, smoothing_function=smoothing))
            for place, words in enumerate(found)
        ]
