"""Seeded sequences of faults (tests/chaos.py); scripts/chaos.sh runs hundreds."""

from __future__ import annotations

import pytest
from chaos import Sequence

SEEDS = (2, 3, 4, 6, 7, 8, 9, 10, 11, 13)
"""Of the shorter ones: none of them trains all models again. They have nine of the eleven operations."""
LONG = (9,)
"""What they do others do too: `make test-all`."""
STEPS = 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.exhaustive) if seed in LONG else seed for seed in SEEDS]
)
def test_a_sequence_of_faults(whole_run, tmp_path, seed):
    sequence = Sequence(seed, tmp_path, whole_run[0])
    try:
        sequence.go(STEPS)
    except AssertionError:
        print(sequence.log.read_text()[-6000:])
        raise
