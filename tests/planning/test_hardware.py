"""GPUs and rates: assumed unless given, and the plan says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.gpus import MEMORY_GB, PEAK_TFLOPS
from megatron_sbp.planning.hardware import Hardware, given_hardware
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.planning.text import format_plan
from megatron_sbp.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"


def test_what_is_not_given_is_assumed():
    found = given_hardware(None, None, 0.1)
    assert (found.gpu, found.gpu_from, found.mfu_from) == ("H100", "assumed", "assumed")
    assert (found.generation_mfu, found.generation_mfu_from) == (0.1, "given")
    assert given_hardware(None, None, None) == Hardware()


def test_hours_by_hand():
    """312e12 FLOP/s at half of it: 3600 s x 156e12 in an hour."""
    found = given_hardware("a100", 0.5, 0.25)
    assert found.hours(3600 * 156e12) == pytest.approx(1) and found.hours(3600 * 78e12, writing=True) == pytest.approx(
        1
    )
    assert (found.gpu, found.device_bytes) == ("A100", 80e9)


@pytest.mark.parametrize(
    "words, message",
    [(("A10O", None, None), "did you mean A10"), ((None, 0.0, None), "--mfu"), ((None, None, 1.5), "--writing-mfu")],
)
def test_what_cannot_be(words, message):
    with pytest.raises(InputError, match=message):
        given_hardware(*words)


def test_every_gpu_has_a_peak_and_a_memory():
    assert set(PEAK_TFLOPS) == set(MEMORY_GB)


def test_the_plan_says_which():
    recipe = load_recipe(RECIPE)
    assumed, given = make_plan(recipe), make_plan(recipe, hardware=given_hardware("A100", 0.3, None))
    assert assumed["hardware"]["gpus"] == 128 and given["hardware"]["mfu_from"] == "given"
    factor = 989e12 * 0.4 / (312e12 * 0.3)
    for kind in ("arms", "embedding", "neighbors", "tuning"):
        hours = [plan["total"]["gpu_hours_of"][kind] for plan in (assumed, given)]
        assert hours[1] == pytest.approx(factor * hours[0])
    text = format_plan(given)
    assert "A100-hours" in text and "H100" not in text
    assert "on A100 (given: 312 TFLOP/s, 80 GB) at 30 % of it (given)" in text and "writing 5 % (assumed)" in text
    assert "on H100 (assumed" in format_plan(assumed)


def test_memory_is_compared_with_the_given_gpu():
    found = make_plan(load_recipe(RECIPE), hardware=given_hardware("L4", None, None))["warnings"]
    (line,) = [line for line in found if "a rank needs" in line]
    assert "(train-baseline, train-sbp, train-oracle, tune), more than the 24 GB of an L4" in line
