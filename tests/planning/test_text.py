"""The plan as text: units, marks of what is estimated, a line for every arm and synthesizer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from megatron_sbp.planning.plan import make_plan
from megatron_sbp.planning.text import format_plan
from megatron_sbp.recipe import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", ["sbp_3b_200b/recipe.yaml", "people/study.yaml", "people/recipe.yaml"])
def test_every_arm_and_every_synthesizer_is_named(name):
    recipe = load_recipe(EXAMPLES / name)
    text = format_plan(make_plan(recipe))
    for arm in recipe.arms:
        assert re.search(rf"\b{arm}\b", text), arm
    for name in recipe.used_synthesizers[1:]:
        assert f"({name})" in text
    assert "None" not in text and "nan" not in text
    assert max(map(len, text.splitlines())) <= 160


def test_columns_of_long_names_stay_apart():
    names = ["baseline", "sbp_with_a_share_of_ten_percent", "sbp_with_a_share_of_half"]
    words = [f"arms={{{', '.join(f'{name}: {{}}' for name in names)}}}"]
    lines = format_plan(make_plan(load_recipe(EXAMPLES / "people" / "recipe.yaml", words))).splitlines()
    header = next(line for line in lines if "baseline" in line)
    assert header.split() == names
    tokens = next(line for line in lines if line.startswith("training tokens"))
    assert len(tokens) == len(header) and len(tokens.split()) == 2 + len(names)


def test_estimates_are_marked_and_measurements_are_not():
    recipe = load_recipe(EXAMPLES / "sbp_3b_200b" / "recipe.yaml")
    estimated = format_plan(make_plan(recipe))
    assert "~" in estimated and "measured here" not in estimated
    real = {"documents": recipe.documents.train, "tokens": 10**10}
    oracle = {"documents": recipe.documents.train * 20, "tokens": 2 * 10**11}
    measured = format_plan(make_plan(recipe, {"real": real, "oracle": oracle, "vocab_size": 49_152}))
    assert "measured here: vocabulary, unique tokens of D, unique tokens of the oracle" in measured
    assert measured.count("~") < estimated.count("~")
