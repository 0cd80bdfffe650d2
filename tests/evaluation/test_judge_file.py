"""What a judge needs before anything is asked: a function that is there, or a client and a key."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.judge_file import api_key, check_judge, judge_place
from megatron_sbp.recipe import Recipe, load_recipe

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"
ENDPOINT = "{base_url: 'http://localhost:1/v1', model: judge, api_key_variable: THE_KEY}"


def recipe_of(folder: Path, **evaluation: str) -> Recipe:
    """The recipe of the end-to-end tests, with a judge, in another folder."""
    file = folder / "recipe.yaml"
    shutil.copy(TINY, file)
    return load_recipe(file, [f"evaluation.{key}={value}" for key, value in evaluation.items()])


def test_without_a_judge_nothing_is_needed(tmp_path):
    recipe = recipe_of(tmp_path)
    assert judge_place(recipe) is None
    check_judge(recipe)


def test_a_function_must_be_there(tmp_path):
    recipe = recipe_of(tmp_path, judge="judge.py:judge")
    with pytest.raises(InputError, match=r"'evaluation\.judge'.*judge\.py"):
        check_judge(recipe)
    (tmp_path / "judge.py").write_text("def judge(batch):\n    return []\n")
    check_judge(recipe)
    assert judge_place(recipe).name == "judge"


def test_an_endpoint_needs_its_client(tmp_path, monkeypatch):
    monkeypatch.setenv("THE_KEY", "secret")
    recipe = recipe_of(tmp_path, judge_endpoint=ENDPOINT)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openai" else found(name))
    with pytest.raises(InputError, match="pip install openai"):
        check_judge(recipe)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "THE_KEY is not set"),
        ("  ", "THE_KEY is not set"),
        ("se cret", "is not a key"),
        ("schlüssel", "is not a key"),
    ],
)
def test_a_key_that_cannot_be_sent_is_not_repeated(tmp_path, monkeypatch, key, message):
    monkeypatch.delenv("THE_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("THE_KEY", key)
    with pytest.raises(InputError, match=r"evaluation\.judge_endpoint\.api_key_variable") as caught:
        check_judge(recipe_of(tmp_path, judge_endpoint=ENDPOINT))
    assert message in str(caught.value) and (not (key or "").strip() or key not in str(caught.value))


def test_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("THE_KEY", " secret\n")
    assert api_key(recipe_of(tmp_path, judge_endpoint=ENDPOINT)) == "secret"
    open_server = ENDPOINT.replace("THE_KEY", "null")
    assert api_key(recipe_of(tmp_path, judge_endpoint=open_server)) == ""
