"""Values of a recipe: numbers as YAML 1.1 writes them, texts that a terminal can take."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import load_recipe, values

EXAMPLE = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.mark.parametrize(
    ("value", "number"), [(3, 3), ("3", 3), ("1e3", 1000), ("20_000", 20_000), (4.0, 4), ("20e9", 2 * 10**10)]
)
def test_whole_numbers(value, number):
    found = TypeAdapter(values.Int).validate_python(value)
    assert found == number and isinstance(found, int)


@pytest.mark.parametrize(
    "value", [True, None, "", "x", 1.5, "1.5", math.inf, math.nan, "nan", 2**53, "1e400", [1], "0x10"]
)
def test_what_is_no_whole_number(value):
    with pytest.raises(ValidationError, match="must be a whole number"):
        TypeAdapter(values.Int).validate_python(value)


@pytest.mark.parametrize("kind", [values.Int, values.Float])
@pytest.mark.parametrize("value", [10**18, -(2**53), "1e18"])
def test_a_number_too_large_is_told_so(kind, value):
    """`must be a whole number, not 1000000000000000000` would leave its author at a loss."""
    with pytest.raises(ValidationError, match=r"must be a (whole )?number below 2\^53, not "):
        TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize(("value", "number"), [("1e-3", 0.001), (1, 1.0), ("1_000.5", 1000.5), (-0.5, -0.5)])
def test_numbers(value, number):
    found = TypeAdapter(values.Float).validate_python(value)
    assert found == number and isinstance(found, float)


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        (values.Count, [1], [0, -1]), (values.Whole, [0], [-1]), (values.Positive, [1e-9], [0]),
        (values.NotNegative, [0], [-1e-9]), (values.AtLeastOne, [1], [0.99]), (values.Fraction, [0, 1], [-0.1, 1.1]),
        (values.Share, [0.5], [0, 1]), (values.Decay, [0, 0.9], [1]), (values.Cosine, [-1, 1], [-1.1, 1.1]),
    ],
)  # fmt: skip
def test_ranges(kind, inside, outside):
    for value in inside:
        TypeAdapter(kind).validate_python(value)
    for value in outside:
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(value)


def test_texts_have_no_control_characters_and_prose_may_have_lines():
    for bad in ("a\x1b[2J", "a\x00", "\ud800", "a\nb"):
        with pytest.raises(ValidationError, match="control character"):
            TypeAdapter(values.Text).validate_python(bad)
    assert TypeAdapter(values.Prose).validate_python("a\n\tb") == "a\n\tb"
    assert TypeAdapter(values.Text).validate_python("ümlaut \U0001f600") == "ümlaut \U0001f600"


def test_values_of_megatron_flags():
    for good in (None, True, 3, 1e-3, "x", [1, "x", None]):
        TypeAdapter(values.FlagValue).validate_python(good)
    for bad in ({"a": 1}, [[1]], math.inf, [math.nan]):
        with pytest.raises(ValidationError):
            TypeAdapter(values.FlagValue).validate_python(bad)


def test_long_values_are_cut_in_messages():
    assert values.shown("x" * 10) == "'xxxxxxxxxx'"
    assert len(values.shown("x" * 1000)) == 80 and values.shown("x" * 1000).endswith("...")


@pytest.mark.parametrize("key", ["slurm.time", "slurm.stages.cpu.time"])
def test_time_limits_of_slurm(key):
    for good, text in {"90": "90", "2-12": "2-12", "24:00:00": "24:00:00", "04:00:00": "04:00:00"}.items():
        assert value_of(load_recipe(EXAMPLE, [f"{key}={good}"]), key) == text
    for bad in ("foo", "4h", "''", "[1]", "true", "-5", "1.5"):
        with pytest.raises(InputError, match=r"must be a time limit of Slurm \(minutes, MM:SS, .* D-HH:MM:SS\), not"):
            load_recipe(EXAMPLE, [f"{key}={bad}"])


@pytest.mark.parametrize("key", ["slurm.memory", "slurm.stages.cpu.memory"])
def test_memory_of_slurm(key):
    for good in ("0", "64000", "64G", "16g", "2T", "512MB"):
        assert value_of(load_recipe(EXAMPLE, [f"{key}={good}"]), key) == good
    assert value_of(load_recipe(EXAMPLE, [f"{key}=null"]), key) is None
    for bad in ("foo", "64 G", "64P", "1.5G", "-1", "[1]", "''"):
        with pytest.raises(
            InputError, match="must be a number of megabytes, or one with K, M, G, or T behind it, or site, not"
        ):
            load_recipe(EXAMPLE, [f"{key}={bad}"])


def value_of(recipe, key):
    value = recipe
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value
