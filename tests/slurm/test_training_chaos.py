"""Seeded sequences of faults against a training job (tests/support/job_chaos.py); scripts/job_chaos.sh runs many."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.job_chaos import JobSequence, prepare

SEQUENCES = 6
STEPS = 3

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.exhaustive, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def made(slurm, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("job-chaos")
    prepare(folder)
    return folder


@pytest.mark.parametrize("seed", range(1, SEQUENCES + 1))
def test_a_sequence_of_faults(slurm, made, tmp_path, seed):
    sequence = JobSequence(seed, tmp_path, made, slurm)
    try:
        sequence.go(STEPS)
    except AssertionError:
        print(sequence.log.read_text()[-4000:])
        raise
    finally:
        sequence.clean_up()
