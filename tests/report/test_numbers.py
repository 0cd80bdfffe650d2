"""Numbers as people read them."""

from __future__ import annotations

import itertools

import pytest

from megatron_sbp.report.numbers import NOTHING, count, percent, short, signed, ticks, with_error


def test_nothing_is_a_dash():
    assert {count(None), percent(None), signed(None, 0.1, 2), with_error(None, None, 2)} == {NOTHING}


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.0123, 0.001, "+0.0123 ±\u00a00.0010"),
        (-0.5, None, "\u22120.5000"),
        (-0.00001, None, "0.0000"),  # no sign where nothing is left of the number
        (0.00001, None, "0.0000"),
        (0.0, None, "0.0000"),
    ],
)
def test_signed(value, error, text):
    assert signed(value, error, 4) == text


def test_percent_has_no_negative_zero():
    assert percent(-0.0001, 1) == "0\u00a0%" and percent(-0.25, 0) == "-25\u00a0%"


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0.0, 4, "0 %"), (0.0, 0, "0 %"), (3e-7, 4, "< 0.0001 %"), (0.0004, 1, "< 0.1 %"), (0.0006, 1, "0.1 %"),
     (0.004, 0, "< 1 %"), (0.000012, 4, "0.0012 %")],
)  # fmt: skip
def test_nothing_and_next_to_nothing_are_told_apart(share, digits, text):
    assert percent(share, digits) == text.replace(" ", "\u00a0")


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (1234, "1.23k"), (2.5e6, "2.5M"), (1e12, "1T"), (-3e3, "-3k")])
def test_short(value, text):
    assert short(value) == text


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 12), (0.001, 0.0017), (0, 123456), (5, 5)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
    assert 1 <= len(found) <= 7
    steps = {round(b - a, 12) for a, b in itertools.pairwise(found)}
    assert len(steps) <= 1 and all(f"{step:e}"[0] in "125" for step in steps)


def test_ticks_and_short_numbers():
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(2.95, 3.45) == [3.0, 3.1, 3.2, 3.3, 3.4]
    assert ticks(1, 1) == [1]
    assert [short(value) for value in (1234567, 2e12, 1500, 12)] == ["1.23M", "2T", "1.5k", "12"]
    assert percent(0.1234) == "12.3\u00a0%" and percent(None) == "–"
