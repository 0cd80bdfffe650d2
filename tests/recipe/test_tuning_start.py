"""What `tuning.start` names: a word, or a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.recipe import load_recipe
from megatron_sbp.recipe.tuning_start import keeps_best, start_folder, start_word

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


def recipe(*overrides: str):
    return load_recipe(TINY, overrides)


@pytest.mark.parametrize(
    ("value", "word"), [("null", "last"), ("last", "last"), ("best", "best"), ("scratch", "scratch")]
)
def test_words(value, word):
    found = recipe(f"tuning.start={value}")
    assert start_word(found) == word and start_folder(found) is None


@pytest.mark.parametrize(("value", "folder"), [("./last", TINY.parent / "last"), ("/models/x", Path("/models/x"))])
def test_everything_else_is_a_folder_relative_to_the_recipe(value, folder):
    found = recipe(f"tuning.start={value}")
    assert start_word(found) is None and start_folder(found) == folder


def test_the_home_folder_is_understood(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert start_folder(recipe("tuning.start=~/model")) == Path("/home/someone/model")
    assert start_folder(recipe("tuning.start=~nobody-of-this-name/x")) == TINY.parent / "~nobody-of-this-name" / "x"


def test_only_the_arm_that_a_synthesizer_starts_from_keeps_its_best_checkpoint():
    for start, kept in (("best", True), ("last", False), ("scratch", False)):
        found = recipe(f"tuning.start={start}")
        assert keeps_best(found, "baseline") == kept
        assert not keeps_best(found, "sbp") and not keeps_best(found, "oracle")
