"""Numbers as people read them."""

from __future__ import annotations

import pytest

from megatron_sbp.report.numbers import NOTHING, count, percent, percent_with_error, signed, with_error


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
    assert percent(0.1234) == "12.3\u00a0%"
    assert percent(-0.0001, 1) == "0\u00a0%" and percent(-0.25, 0) == "\u221225\u00a0%"


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0.0, 4, "0 %"), (0.0, 0, "0 %"), (3e-7, 4, "< 0.0001 %"), (0.0004, 1, "< 0.1 %"), (0.0006, 1, "0.1 %"),
     (0.004, 0, "< 1 %"), (0.000012, 4, "0.0012 %")],
)  # fmt: skip
def test_nothing_and_next_to_nothing_are_told_apart(share, digits, text):
    assert percent(share, digits) == text.replace(" ", "\u00a0")


def test_a_number_with_its_error():
    assert with_error(4.321, 0.0012, 4) == "4.3210 ±\u00a00.0012" and with_error(-0.5, None, 2) == "\u22120.50"
    assert with_error(2.28e36, 1.3731e38, 4) == "2.28e+36 ±\u00a01.37e+38"
    assert with_error(-2e6, None, 4) == "\u22122e+06"


def test_a_share_with_its_error():
    assert percent_with_error(0.5617, 0.0213) == "56.2\u00a0% ±\u00a02.1"
    assert percent_with_error(0.5617, None) == "56.2\u00a0%"
    assert percent_with_error(None, 0.1) == NOTHING
