"""Where a run folder is, and how shards are called."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run, label, shard_name

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.of(load_recipe(TINY, [f"run_folder={tmp_path}/run"]))


@pytest.mark.parametrize(
    ("place", "name"), [("demo/recipe.yaml", "demo"), ("demo/study.yaml", "study"), ("demo/recipe.yml", "demo")]
)
def test_the_default_run_folder_follows_from_the_place(tmp_path, monkeypatch, place, name):
    file = tmp_path / place
    file.parent.mkdir()
    file.write_text(TINY.read_text())
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(file, ["run_folder=null"])
    assert label(recipe) == name and Run.of(recipe).root == tmp_path / "runs" / name


def test_shards_are_sorted_by_their_numbers_or_refused():
    assert shard_name(3) == "00003" and shard_name(99_999) == "99999"
    with pytest.raises(InputError, match=r"at most 100,000 shards of a kind; raise documents\.documents_per_shard"):
        shard_name(100_000)


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines"])
def test_a_path_that_no_text_can_hold_is_refused(tmp_path, monkeypatch, name):
    """The run folder is named in files of UTF-8, on a line each."""
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    recipe = load_recipe(TINY)
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="has a line feed or bytes that are not UTF-8 in its path"):
        Run.of(recipe)
    shutil.copy(TINY, folder / "recipe.yaml")
    with pytest.raises(InputError, match="has a line feed or bytes"):
        Run.of(load_recipe(folder / "recipe.yaml", [f"run_folder={tmp_path}/run"]))


def test_the_home_folder_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    python = "vllm={python: ~/vllm/bin/python}"
    words = ["run_folder=~/run", "documents.inputs=[~/d/*.jsonl]", f"synthesis.{python}", f"embedding.{python}"]
    recipe = load_recipe(TINY, [*words, "evaluation.harness.python=~/bin/python"])
    assert Run.of(recipe).root == tmp_path / "run" and recipe.documents.inputs == [f"{tmp_path}/d/*.jsonl"]
    for chosen in (recipe.synthesis.vllm, recipe.embedding.vllm):
        assert chosen.python == f"{tmp_path}/vllm/bin/python"
    assert recipe.evaluation.harness.python == f"{tmp_path}/bin/python"
