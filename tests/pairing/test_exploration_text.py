"""What an exploration says in a terminal; tests/stages/test_exploring.py has that of a real run."""

from __future__ import annotations

import numpy as np

from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.pairing.exploration_text import format_exploration
from megatron_sbp.pairing.exploring import SampledNeighbors, explore_pairs
from megatron_sbp.pairing.field_rules import no_field_rules
from megatron_sbp.recipe import Pairs

CHANCE = np.random.default_rng(5).normal(0.2, 0.1, 2000)


def told(score: float, alpha: float) -> str:
    """Of two documents without a common token."""
    documents = TokenSpans(np.arange(40, dtype=np.uint16), np.array([0, 20]), np.array([20, 20]))
    neighbors = SampledNeighbors(np.arange(2), np.array([[1], [0]]), np.full((2, 1), score, np.float32))
    found = explore_pairs(
        neighbors,
        CHANCE,
        documents,
        no_field_rules(2),
        Pairs(alpha=alpha),
        run_seed=1,
        examples=1,
        text_of=lambda tokens: f"<{tokens[0]}>",
    )
    return format_exploration(found)


def test_the_recommendation_is_marked_and_pairs_can_be_read():
    lines = told(0.9, 0.5).split("\n")
    assert lines[0] == "The neighbors of 2 documents, 1 each; nothing was written."
    assert sum("<- recipe" in line for line in lines) == 2  # in both tables
    assert any("recommended" in line for line in lines) and "  0.900, 0% of the shingles shared" in lines
    at = lines.index("  0.900, 0% of the shingles shared")
    assert sorted(lines[at + 1 : at + 3]) in (
        ["    seed 0: <0>", "    target 1: <20>"],
        ["    seed 1: <20>", "    target 0: <0>"],
    )


def test_where_nothing_is_left_no_alpha_is_recommended():
    text = told(0.01, 0.75)
    assert "No alpha is recommended" in text and "100.0%" not in text and "nan" not in text
