"""Counts by name as text."""

from __future__ import annotations

from megatron_sbp.base.counts import named_counts


def test_zeros_are_left_out_and_the_order_is_kept():
    assert named_counts({"too_short": 12, "unfinished": 0, "copying": 1204}) == "too_short 12, copying 1,204"
    assert named_counts({"copying": 0}) == named_counts({}) == ""
