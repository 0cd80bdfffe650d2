"""How many generations more, by what the latest of them added."""

from __future__ import annotations

from megatron_sbp.synthesis.extension import SPARE, Round, further_generations


def test_as_many_as_the_tokens_that_are_missing_need():
    # 80 of 100 tokens of a generation pass; 40,000 are missing.
    assert further_generations([Round(1000, 80_000, 100_000)], 120_000) == 1000 + SPARE * 500


def test_the_latest_generations_tell_and_not_the_first():
    """The more generations there are, the more of them repeat others."""
    rounds = [Round(1000, 80_000, 100_000), Round(1500, 100_000, 150_000)]
    assert further_generations(rounds, 120_000) == 1500 + SPARE * 500


def test_at_most_twice_as_many_at_once():
    assert further_generations([Round(1000, 20_000, 100_000)], 1_000_000) == 2000


def test_none_where_hardly_anything_passes():
    assert further_generations([Round(1000, 10_000, 100_000)], 20_000) is None
    assert further_generations([Round(1000, 0, 100_000)], 20_000) is None
    assert further_generations([Round(1000, 90_000, 100_000), Round(2000, 99_000, 200_000)], 120_000) is None
    assert further_generations([Round(1000, 0, 0)], 20_000) is None
