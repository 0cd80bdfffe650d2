"""The sentence on whether a text is about its seed document."""

from __future__ import annotations

import pytest

from megatron_sbp.report.seed_reading import ignores_seed, seed_sentence

MEASURED = {
    "to_seed": 0.61, "random_pairs": 0.2849, "reads_seed": True, "seed_gain": 0.33,
    "intervals": {"seed_gain": [0.3, 0.36]},
}  # fmt: skip


def test_a_text_that_is_near_its_seed():
    assert seed_sentence(MEASURED) == (
        "The synthetic text is nearer to its own seed document than to another: its mean cosine to it is 0.610, to "
        "another seed document 0.285 (+0.330, 95 % interval +0.300 to +0.360)."
    )


def test_a_text_that_is_not():
    ignored = {**MEASURED, "reads_seed": False, "seed_gain": -0.01, "intervals": {"seed_gain": [-0.03, 0.0]}}
    found = seed_sentence(ignored)
    assert found.startswith("The synthetic text ignores its seed document: its mean cosine")
    assert "(−0.010, 95 % interval −0.030 to 0.000)" in found


@pytest.mark.parametrize("interval", [[-0.1, 0.308], [-0.01, 0.05], [0.0, 0.2]])
def test_too_few_texts_show_nothing(interval):
    found = {**MEASURED, "reads_seed": False, "seed_gain": 0.1, "intervals": {"seed_gain": interval}}
    assert not ignores_seed(found)
    assert seed_sentence(found).startswith("Too little synthetic text was compared to say whether it is about its seed")


def test_what_ignores_its_seed():
    assert ignores_seed({"reads_seed": False, "intervals": {"seed_gain": [-0.02, 0.049]}})
    for found in (MEASURED, {}, {"reads_seed": None, "intervals": {"seed_gain": [None, None]}}):
        assert not ignores_seed(found)


@pytest.mark.parametrize("key", ["to_seed", "random_pairs", "reads_seed"])
def test_what_was_not_measured_is_no_sentence(key):
    assert seed_sentence({**MEASURED, key: None}) is None
    assert seed_sentence({name: value for name, value in MEASURED.items() if name != key}) is None
