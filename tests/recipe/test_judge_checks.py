"""An endpoint is named whole, alone, and without what must stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import load_recipe

PEOPLE = Path(__file__).parents[2] / "examples" / "people" / "recipe.yaml"
ENDPOINT = "evaluation.judge_endpoint"


def words(base_url: str = "https://api.openai.com/v1", model: str = "m", **more: str) -> list[str]:
    values = {"base_url": base_url, "model": model, **more}
    return ["evaluation.judge=null", *(f"{ENDPOINT}.{key}={value}" for key, value in values.items())]


@pytest.mark.parametrize("base_url", ["https://api.openai.com/v1", "http://localhost:8000/v1", "http://[::1]:80/v1/"])
def test_an_endpoint(base_url):
    assert load_recipe(PEOPLE, words(base_url)).evaluation.judge_endpoint.base_url == base_url


@pytest.mark.parametrize(
    ("given", "key", "message"),
    [
        (words()[1:], "base_url", "evaluation.judge names a judge too"),
        (words(model="null"), "model", "is required when base_url is given"),
        (words(model="' '"), "model", "is required when base_url is given"),
        (words(base_url="null"), "base_url", "is required when evaluation.judge_endpoint.model is given"),
        (words("localhost:8000"), "base_url", "must be http://HOST/PATH"),
        (words("ftp://host/v1"), "base_url", "must be http://HOST/PATH"),
        (words("http:///v1"), "base_url", "must be http://HOST/PATH"),
        (words("http://host:port/v1"), "base_url", "must be http://HOST/PATH"),
        (words("https://user:hunter2@host/v1"), "base_url", "keys and passwords belong in the environment variable"),
        (words("https://host/v1?key=hunter2"), "base_url", "keys and passwords belong"),
        (words(api_key_variable="sk-hunter2"), "api_key_variable", "the name of an environment variable"),
    ],
)
def test_what_is_refused(given, key, message):
    with pytest.raises(InputError, match=message) as found:
        load_recipe(PEOPLE, given)
    assert found.value.key == f"{ENDPOINT}.{key}" and "hunter2" not in str(found.value)
