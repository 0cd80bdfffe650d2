"""Counts, bytes and hours of the plan as text."""

from __future__ import annotations

import pytest

from megatron_sbp.planning.numbers import format_bytes, format_count, format_hours


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999, "999"), (1000, "1k"), (1.5e6, "1.5M"), (7.5e10, "75B"), (1e12, "1T")]
)
def test_counts(value, text):
    assert format_count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (8e10, "80 GB"),
        (2.34e12, "2.34 TB"),
        (999.4e6, "999 MB"),
        (999.7e6, "1 GB"),
        (1.25e15, "1.25 PB"),
    ],
)
def test_bytes(value, text):
    assert format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.0123, "0.012"), (1.55, "1.6"), (9.94, "9.9"), (10, "10"), (2581.7, "2,582")]
)
def test_hours(value, text):
    assert format_hours(value) == text
