"""Whatever a recipe holds, it is a Recipe or an InputError that names the file; a Recipe survives its own YAML."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from support.ranges import ranges

from megatron_sbp.base.errors import InputError
from megatron_sbp.planning import ledger, plan
from megatron_sbp.planning.text import format_plan
from megatron_sbp.recipe import Recipe, dump_recipe, load_recipe
from megatron_sbp.recipe.checks import all_keys

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart" / "recipe.yaml"
TEXT = EXAMPLE.read_text()
TREE = yaml.safe_load(TEXT)
KEYS = sorted(all_keys())
RANGES = ranges()

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["1e400", "0x_", "1:2", "2026-13-31", "=", "<<", "~", "1_0", "\ud800", "\x1b[31m", "a\nb", "null"]
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
)
PIECES = st.sampled_from(
    [
        *"\ufeff\u2028\x85\x00",
        *"[]{}|>%@'\"\\#,\t\n",
        ": ",
        "- ",
        "? ",
        "&a ",
        "*a",
        "!!x ",
        "<<: ",
        "\n  ",
        "---\n",
        "null",
    ]
)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("recipe") / "recipe.yaml"


def load(file: Path, content: str | bytes, *overrides: str) -> Recipe | None:
    """The recipe, or None when it was refused as it should be. Any other exception fails the test."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    try:
        recipe = load_recipe(file, overrides)
    except InputError as error:
        assert error.file in (file, file.resolve(), "command line")
        assert str(error).replace("\n", "").replace("\t", "").isprintable()
        return None
    again = file.with_name("again.yaml")
    again.write_text(dump_recipe(recipe))
    assert load_recipe(again).to_dict() == recipe.to_dict()
    json.dumps(recipe.to_dict(), allow_nan=False)
    return recipe


@given(content=st.binary(max_size=200) | st.text(max_size=200) | st.lists(PIECES, max_size=40).map("".join))
def test_any_text(file, content):
    load(file, content)


@given(tree=VALUES)
def test_any_tree(file, tree):
    # JSON is YAML, as far as it can hold the tree.
    load(file, json.dumps(tree))
    load(file, json.dumps({**TREE, "training": {**TREE["training"], "megatron": tree}}))


@given(begin=st.integers(0, len(TEXT)), length=st.integers(0, 40), piece=PIECES | st.text(max_size=5))
def test_a_recipe_with_a_piece_replaced(file, begin, length, piece):
    load(file, TEXT[:begin] + piece + TEXT[begin + length :])


@given(key=st.sampled_from(KEYS), value=VALUES)
def test_a_recipe_with_a_value_replaced(file, key, value):
    tree = json.loads(json.dumps(TREE))
    *sections, last = key.split(".")
    inner = tree
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = value
    load(file, json.dumps(tree))


@given(words=st.lists(st.text(max_size=30) | st.tuples(st.sampled_from(KEYS), st.text(max_size=20)), max_size=3))
@example(words=[("seed", "*a")])
@example(words=["training.megatron.a.b=1"])
def test_any_overrides(file, words):
    load(file, TEXT, *(word if isinstance(word, str) else "=".join(word) for word in words))


def numbers(key: str) -> st.SearchStrategy[float]:
    """Numbers around and inside the bounds of a key, of all sizes."""
    interval = RANGES[key]
    low = -10.0 if interval.low is None else interval.low
    high = 2.0**53 if interval.high is None else interval.high
    whole = st.integers(int(low), int(high)) | st.integers(int(low), int(min(high, low + 4096)))
    return whole | st.floats(low, high) | st.sampled_from([low, high])


CHANGES = st.dictionaries(st.sampled_from(sorted(RANGES)), st.none(), max_size=2).flatmap(
    lambda keys: st.fixed_dictionaries({key: numbers(key) for key in keys})
)


@given(changes=CHANGES)
def test_every_valid_recipe_has_a_plan_with_equal_arms(file, changes):
    """Any numbers: refused, or planned; every arm of a planned run has the same samples and the same tokens."""
    overrides = [f"{key}={value}" for key, value in changes.items()]
    recipe = load(file, TEXT, "training.megatron={}", *overrides)
    if recipe is None:
        return
    samples = {arm: sum(ledger.arm_samples(recipe, arm).values()) for arm in recipe.arms}
    assert set(samples.values()) == {ledger.train_samples(recipe)}
    batch, length = recipe.training.global_batch_size, recipe.model.sequence_length
    assert samples["sbp"] % batch == 0
    assert (
        0 <= samples["sbp"] * length - recipe.training.train_tokens < batch * length
    )  # rounded up by less than a step
    parts = ledger.arm_samples(recipe, "sbp")
    assert 0 < parts["synthetic"] < samples["sbp"] and parts["real"] > 0
    assert parts["synthetic"] * length <= recipe.synthesis.tokens < (parts["synthetic"] + 1) * length
    made = plan.make_plan(recipe)
    assert {arm["train_tokens"] for arm in made["arms"].values()} == {samples["sbp"] * length}
    assert len({arm["flops"] for arm in made["arms"].values()}) == 1
    json.dumps(made, allow_nan=False)
    assert format_plan(made)
