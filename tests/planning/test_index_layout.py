"""Layouts of an index, and the errors that follow from them."""

from __future__ import annotations

import math

import pytest

from megatron_sbp.planning.index_layout import PART_HASHES, IndexPlan, layout

GB = 1 << 30


def test_false_positives_by_hand():
    plan = layout(60_000, GB)
    assert plan.false_positives(plan.shingles) == 60_000 / 2.0 ** (plan.bucket_bits + 32) < 16 / 2**32
    short = IndexPlan(plan.shingles, 0, 56, 0)
    assert short.false_positives(1 << 10) == 2.0**-54  # 8 bits are left behind 56
    assert IndexPlan(0, 30, 10, 0).false_positives(1024) == 1024 / 2.0**34


@pytest.mark.parametrize(
    ("documents", "gigabytes", "halvings"),
    [(12_100_000, 8, 2), (60_400_000, 8, 5), (60_400_000, 64, 2), (582_000_000, 64, 5)],
)
def test_the_sizes_of_the_documentation(documents, gigabytes, halvings):
    """Documents of 600 tokens; docs/synthesis.md has these numbers."""
    plan = layout(documents * 588, gigabytes * GB)
    assert plan.halvings == halvings and plan.bytes <= gigabytes * GB
    assert plan.false_positives(plan.shingles >> halvings) < 1e-7
    assert (plan.shingles >> halvings) / plan.parts <= PART_HASHES


def test_an_estimate_from_nothing_says_nothing():
    plan = IndexPlan(1000, 2, 4, 0)
    assert plan.standard_error(0.5, 0) == math.inf and plan.standard_error(0.5, 3) == pytest.approx(0.25)
    assert IndexPlan(1000, 0, 4, 0).standard_error(0.5, 3) == 0


def test_a_smaller_index_keeps_a_smaller_sample():
    """10^9 hashes of 4 bytes and 2^26 buckets of 4 bytes are 4.27e9 bytes."""
    budgets = (8 * GB, 4 * GB, GB, 1000, 0)
    found = [layout(10**9, at_most) for at_most in budgets]
    assert [plan.halvings for plan in found] == [0, 0, 2, 23, 30]
    assert all(plan.bytes <= at_most for plan, at_most in zip(found[:4], budgets, strict=False))
    assert layout(0, GB).parts == 1 and found[0].parts == 8
