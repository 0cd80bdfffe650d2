"""What is known about a shard of raw generations once the filters have judged each by itself."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

PASSED = -1
"""Verdict on a generation that no rule dropped; others are indices into VERDICTS."""


@dataclass(frozen=True)
class Judged:
    """The files of one judged shard, NAME.npy in five folders.

    Attributes:
        verdicts: int32 [2 or 3, generations]: verdict; tokens that training reads of the text, end-of-document
            included; and UNKNOWN, SAME or DIFFERENT of retokenized.py, where a row has the ids that were written.
        digests: uint64 [passed], of the texts, white space aside.
        signatures: uint32 [passed, 128], MinHash; only with `duplicates: near`.
        bands: uint32 [32, passed], keys of the signatures' bands; only with `duplicates: near`.
        measures: float32 [measures, generations], see `further_rules.measure_names`; NaN where a text has none. Only
            where the recipe uses opt-in rules.
    """

    verdicts: Path
    digests: Path
    signatures: Path
    bands: Path
    measures: Path


PARTS = tuple(field.name for field in fields(Judged))
"""Names of the files, and of their folders."""
