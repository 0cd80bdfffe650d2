"""Slurm's ways to write a time limit."""

from __future__ import annotations

import pytest

from megatron_sbp.recipe.time_limit import is_time_limit, minutes_of


@pytest.mark.parametrize(
    "limit, minutes",
    [("90", 90), ("90:30", 90.5), ("24:00:00", 1440), ("2-12", 3600), ("1-0:30", 1470), ("UNLIMITED", float("inf"))]
    + [(none, float("inf")) for none in ("0", "00:00", "0-00:00:00")],  # sbatch: no limit is imposed
)
def test_time_limits(limit, minutes):
    assert minutes_of(limit) == minutes


@pytest.mark.parametrize(
    "limit", ["0", "90", "90:30", "4:00:00", "04:00:00", "2-12", "1-0:30", "7-00:00:00", "UNLIMITED", "INFINITE"]
)
def test_what_sbatch_takes(limit):
    assert is_time_limit(limit)


@pytest.mark.parametrize("limit", ["", " ", "foo", "4h", "-1", "1:2:3:4", "2-", "-12", "1-2-3", "1.5", "1:", "\u0664"])
def test_what_sbatch_does_not_take(limit):
    assert not is_time_limit(limit)
