"""Slurm's ways to write a time limit."""

from __future__ import annotations

import pytest

from megatron_sbp.recipe.time_limit import minutes_of


@pytest.mark.parametrize(
    "limit, minutes",
    [("90", 90), ("90:30", 90.5), ("24:00:00", 1440), ("2-12", 3600), ("1-0:30", 1470), ("UNLIMITED", float("inf"))],
)
def test_time_limits(limit, minutes):
    assert minutes_of(limit) == minutes
