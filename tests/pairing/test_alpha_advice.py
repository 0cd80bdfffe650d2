from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.pairing.alpha_advice import advise, chance_level

ALPHAS = np.round(np.arange(0.3, 1.0, 0.01), 2)


def advised(scores: np.ndarray, best: np.ndarray, level: float = 0.4) -> dict:
    """Advice for pairs of these similarities, and documents whose best pairs have those."""
    coverage = np.array([np.mean(best > alpha) for alpha in ALPHAS])
    return advise(ALPHAS, scores, coverage, level)


def test_the_chance_level_is_exceeded_by_one_pair_in_a_hundred():
    chance = np.random.default_rng(0).normal(0.2, 0.1, 100_000)
    level = chance_level(chance)
    assert np.mean(chance > level) == pytest.approx(0.01, abs=1e-4)
    assert level == pytest.approx(0.2 + 2.326 * 0.1, abs=0.01)


def test_the_middle_of_a_gap():
    random = np.random.default_rng(0)
    related, others = random.normal(0.88, 0.03, 1000), random.normal(0.45, 0.05, 4000)
    found = advised(np.concatenate([related, others]), related)
    assert found["rule"] == "gap" and 0.65 <= found["alpha"] <= 0.78
    # The coverage is that of the recommended alpha, whatever its rule.
    assert found["coverage"] == np.mean(related > found["alpha"])


def test_a_gap_below_the_chance_level_separates_nothing():
    random = np.random.default_rng(0)
    related, others = random.normal(0.88, 0.03, 1000), random.normal(0.45, 0.05, 4000)
    assert advised(np.concatenate([related, others]), related, level=0.85)["rule"] == "coverage"


def test_without_a_gap_half_of_the_documents_have_a_pair():
    scores = 0.3 + np.random.default_rng(0).exponential(0.1, 5000)
    best = np.linspace(0.41, 0.8, 1000)
    found = advised(scores, best)
    assert found == {"alpha": 0.6, "rule": "coverage", "coverage": np.mean(best > 0.6)}
    assert np.mean(best > 0.6) >= 0.5 > np.mean(best > 0.61)


def test_a_few_scattered_pairs_are_no_second_group():
    scores = np.concatenate([0.3 + np.random.default_rng(0).exponential(0.05, 5000), [0.95, 0.96]])
    assert advised(scores, np.linspace(0.41, 0.8, 1000))["rule"] == "coverage"


def test_nothing_is_recommended_where_only_chance_gives_half_of_the_documents_a_pair():
    scores = np.random.default_rng(0).uniform(0.3, 0.5, 500)
    assert advised(scores, np.linspace(0.3, 0.45, 100), level=0.4) == {"alpha": None, "rule": "none", "coverage": None}


def test_no_pairs_at_all():
    assert advised(np.zeros(0), np.zeros(1))["rule"] == "none"
