"""Results of the filters for a shard of raw generations, each judged individually."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

PASSED = -1
"""Verdict on a generation that no rule dropped; others are indices into VERDICTS."""


@dataclass(frozen=True)
class Judged:
    """The files of one judged shard, NAME.npy in five folders.

    Attributes:
        verdicts: int32 [2 or 3, generations]: verdict; number of the text's tokens for training, including
            end-of-document; and UNKNOWN, SAME, or DIFFERENT of retokenized.py, for rows with generated ids.
        digests: uint64 [passed], of the texts, ignoring white space.
        signatures: uint32 [passed, 128], MinHash; only with `duplicates: near`.
        bands: uint32 [32, passed], keys of the signatures' bands; only with `duplicates: near`.
        measures: float32 [measures, generations], see `further_rules.measure_names`; NaN for missing measures. Only if
            the recipe uses opt-in rules.
    """

    verdicts: Path
    digests: Path
    signatures: Path
    bands: Path
    measures: Path


PARTS = tuple(field.name for field in fields(Judged))
"""Names of the files, and of their folders."""
