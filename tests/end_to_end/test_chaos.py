"""Ten seeded sequences of faults (tests/chaos.py); scripts/chaos.sh runs hundreds."""

from __future__ import annotations

import pytest
from chaos import Sequence

SEQUENCES = 10
STEPS = 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(1, SEQUENCES + 1))
def test_a_sequence_of_faults(whole_run, tmp_path, seed):
    sequence = Sequence(seed, tmp_path, whole_run[0])
    try:
        sequence.go(STEPS)
    except AssertionError:
        print(sequence.log.read_text()[-6000:])
        raise
