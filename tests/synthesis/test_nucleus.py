"""Nucleus sampling without sorting: the same tokens as sorting, and the right frequencies."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.synthesis.nucleus import invert


def by_sorting(probabilities: np.ndarray, uniform: float, top_p: float) -> int:
    """The definition: the smallest set with top_p or more, ties to lower ids, inverted in the order of the ids."""
    order = sorted(range(len(probabilities)), key=lambda token: (-probabilities[token], token))
    mass, kept = 0.0, []
    for token in order:
        if mass >= top_p or probabilities[token] == 0:
            break
        kept.append(token)
        mass += float(probabilities[token])
    goal, cumulative = uniform * mass, 0.0
    for token in sorted(kept):
        cumulative += float(probabilities[token])
        if cumulative > goal:
            return token
    return max(kept)


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 8.0])
def test_as_by_sorting(top_p, sharpness):
    random = np.random.default_rng(4)
    logits = random.normal(0, sharpness, (200, 97))
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)
    uniform = random.random(200)
    found = invert(probabilities, uniform, top_p)
    wanted = [by_sorting(row, value, top_p) for row, value in zip(probabilities, uniform, strict=True)]
    assert (found == wanted).mean() == 1.0


def test_equal_probabilities_at_the_edge_go_to_lower_ids():
    probabilities = np.full((5, 4), 0.25, np.float32)
    found = invert(probabilities, np.array([0.0, 0.3, 0.5, 0.9, 0.999]), 0.5)
    assert found.tolist() == [0, 0, 1, 1, 1]


def test_impossible_tokens_are_never_drawn_and_a_whole_nucleus_is_whole():
    probabilities = np.array([[0.5, 0.0, 0.5, 0.0]] * 4, np.float32)
    found = invert(probabilities, np.array([0.0, 0.49, 0.51, np.nextafter(1, 0)]), 1.0)
    assert found.tolist() == [0, 0, 2, 2]


def test_very_small_probabilities_share_a_class_and_still_count():
    probabilities = np.array([[1 - 3e-14, 1e-14, 2e-14]], np.float32).repeat(2, 0)
    assert invert(probabilities, np.array([0.0, 0.5]), 0.9).tolist() == [0, 0]
    one = np.array([[0.0, 1.0, 0.0]], np.float32)
    assert invert(one, np.array([np.nextafter(1, 0)]), 0.5).tolist() == [1]


def test_frequencies_follow_the_probabilities():
    probabilities = np.array([0.5, 0.3, 0.15, 0.05], np.float32)
    uniform = (np.arange(20_000) + 0.5) / 20_000
    found = np.bincount(invert(probabilities[None].repeat(20_000, 0), uniform, 0.9), minlength=4) / 20_000
    np.testing.assert_allclose(found, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0], atol=2e-4)
