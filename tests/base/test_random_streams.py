"""No two choices of a run share a random stream, and none changes its stream."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import megatron_sbp
from megatron_sbp.base.random_streams import Stream

PACKAGE = Path(megatron_sbp.__file__).parent


def test_numbers_are_distinct_and_stay():
    assert len({int(stream) for stream in Stream}) == len(Stream.__members__)
    assert (Stream.RECALL_SAMPLE, Stream.GENERATION_ORDER, Stream.CHOICE_QUESTIONS, Stream.EXAMPLES) == (3, 8, 11, 31)
    assert np.random.default_rng([1, Stream.READING]).random() == np.random.default_rng([1, 27]).random()


def test_no_stream_is_a_bare_number():
    bare = re.compile(r"default_rng\((\d[\d_]*\)|\[[^\]]*\b\d+\b[^\]]*\]\))")
    found = [
        f"{file.relative_to(PACKAGE)}: {match[0]}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for match in bare.finditer(file.read_text())
    ]
    assert found == []
