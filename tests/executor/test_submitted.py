"""The recipe that jobs run is the one that was submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.executor.claim import claim, recipe_of
from megatron_sbp.executor.submitted import differences, keep
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.fixture
def recipe(tmp_path) -> Path:
    file = tmp_path / "recipe.yaml"
    text = TINY.read_text().replace("../../examples", str(TINY.parents[2] / "examples"))
    file.write_text(text)
    return file


def submitted(recipe: Path, *overrides: str) -> tuple[Run, Path]:
    run = Run.of(load_recipe(recipe, [f"run_folder={recipe.parent}/run", *overrides]))
    claim(run)
    return run, keep(run)


def test_a_change_of_the_file_does_not_reach_the_copy(recipe):
    run, copy = submitted(recipe, "seed=7")
    recipe.write_text(recipe.read_text().replace("vocab_size: 600", "vocab_size: 700"))
    read = recipe_of(copy, [])
    assert (read.seed, read.tokenizer.vocab_size, read.source) == (7, 600, recipe)
    assert Run.of(read).root == run.root and read.folder == recipe.parent
    assert read.to_dict() | {"run_folder": None} == run.recipe.to_dict() | {"run_folder": None}
    claim(Run.of(read))  # the recipe that the copy stands for is outside the run folder


def test_the_same_recipe_is_the_same_copy_and_another_says_what_differs(recipe):
    copy = submitted(recipe)[1]
    assert submitted(recipe)[1] == copy
    before = copy.read_bytes()
    other, present = submitted(recipe, "seed=9", "pairs.alpha=0.5")
    assert present != copy and copy.read_bytes() == before
    assert differences(other, copy.stem, present) == ["pairs.alpha was 0.35, is 0.5", "seed was 3, is 9"]
    assert differences(other, present.stem, present) == differences(other, "", present) == []


def test_the_same_run_folder_named_from_another_folder_is_no_difference(recipe, monkeypatch):
    first = submitted(recipe)[1]
    monkeypatch.chdir(recipe.parent)
    run = Run.of(load_recipe(recipe, ["run_folder=run", "seed=7"]))
    assert differences(run, first.stem, keep(run)) == ["seed was 3, is 7"]
