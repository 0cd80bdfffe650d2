"""Tasks are named once, with the folder that they are in; without tasks the section says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import load_recipe

PEOPLE = Path(__file__).parents[2] / "examples" / "people" / "recipe.yaml"
SECTION = "evaluation.harness"


def words(tasks: str = "[sciq, mmlu]", task_folder: str = "tasks", **more: str) -> list[str]:
    values = {"tasks": tasks, "task_folder": task_folder, **more}
    return [f"{SECTION}.{key}={value}" for key, value in values.items()]


def test_tasks_are_off_and_can_be_named():
    assert load_recipe(PEOPLE).evaluation.harness.tasks == []
    found = load_recipe(PEOPLE, words(shots="{sciq: 5}", metrics="{sciq: acc_norm}")).evaluation.harness
    assert (found.tasks, found.shots, found.metrics) == (["sciq", "mmlu"], {"sciq": 5}, {"sciq": "acc_norm"})
    assert load_recipe(PEOPLE, words("[]", "null", shots="{gone: 1}")).evaluation.harness.tasks == []


@pytest.mark.parametrize(
    ("given", "key", "message"),
    [
        (words("[sciq, sciq]"), "tasks", "names 'sciq' twice"),
        (words("[' ']"), "tasks", "has an empty name"),
        (words(task_folder="null"), "task_folder", "is required with tasks"),
        (words(task_folder="' '"), "task_folder", "is required with tasks"),
        (words(shots="{arc: 1}"), "shots", "'arc' is not among the tasks: sciq, mmlu"),
        (words(shots="{sciq: -1}"), "shots.sciq", "0"),
        (words(backend="tf"), "backend", "hf"),
        (words(limit="0"), "limit", "[01]"),
    ],
)
def test_what_is_refused(given, key, message):
    with pytest.raises(InputError, match=message) as found:
        load_recipe(PEOPLE, given)
    assert found.value.key == f"{SECTION}.{key}"
