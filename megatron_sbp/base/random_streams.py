"""Numbers of the random streams of a run, in one place so that no two choices share one.

Each uses `numpy.random.default_rng([seed, stream])` with the recipe's seed. The numbers must never change: the choices,
and with them the bytes of a run, would change too. Not listed are streams whose key is more than one number: those of
generations (synthesis/token_sampling.py), of epochs (training/data/epochs.py), of random pairs
(pairing/random_control.py), and of ScaNN's training sample (pairing/neighbors/scann_files.py); and the hash functions
of near_duplicates.py, which are the same in all runs. NumPy takes [seed, n, 0], the order of epoch n, for [seed, n]:
epoch 11 is shuffled by the stream that selects the choice questions. Nothing depends on both.
"""

from __future__ import annotations

from enum import IntEnum


class Stream(IntEnum):
    """Numbers of the streams."""

    RECALL_SAMPLE = 3
    """Documents whose neighbors are also searched exactly."""
    GENERATION_ORDER = 8
    """Order in which seed documents get their n-th generation."""
    CHOICE_QUESTIONS = 11
    """Test documents that become questions of continuation choice."""
    DUPLICATE_PAIRS = 12
    """Pairs of texts that are compared for near-duplicates."""
    OTHER_SEEDS = 13
    """A mismatched seed document for every synthetic one."""
    QUALITY_SYNTHETIC = 21
    QUALITY_GENERATIONS = 22
    QUALITY_REAL = 23
    QUALITY_VALID = 24
    QUALITY_RANDOM_PAIRS = 25
    QUALITY_PAIRS = 26
    """Documents and pairs on which the quality of text is measured."""
    READING = 27
    """Pairs on which use of the seed is measured, and their mismatched seeds."""
    REPLACED_TOKENS = 28
    """Tokens that are replaced in a seed document, and their replacements (followed by the generation's row and
    number)."""
    QUALITY_BOOTSTRAP = 29
    """Resamples of documents behind the intervals of quality figures."""
    QUALITY_ORDER = 30
    """Order of documents in the blocks of quality figures."""
    EXAMPLES = 31
    """Synthetic documents shown in the report."""
    EXPLORED_DOCUMENTS = 32
    """Documents on whose neighbors other thresholds are tried, and random documents for the similarity of chance."""
    EXPLORED_PAIRS = 33
    """Pairs shown from each similarity band."""
    RECALL_TUNING = 34
    """Documents on which the reach of ScaNN's search is tuned."""
    SHUFFLED_TARGETS = 35
    """Mined target assigned to each pair of the shuffled control."""
    DUPLICATES_SYNTHETIC = 121
    DUPLICATES_GENERATIONS = 122
    DUPLICATES_REAL = 123
    """Documents among which near-duplicates are counted."""
