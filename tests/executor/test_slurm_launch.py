"""The words that start ranks, on nodes and in containers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from megatron_sbp.executor.slurm_launch import srun_words, variables_of
from megatron_sbp.recipe import load_recipe

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("runtime", "further", "words"),
    [
        ("pyxis", [], ["--container-image=i.sqsh"]),
        ("edf", [], ["--environment=i.sqsh"]),
        ("apptainer", [], ["apptainer", "exec", "--nv", "i.sqsh"]),
        ("apptainer", ["slurm.container_mounts=/a:/b"], ["apptainer", "exec", "--nv", "--bind", "/a:/b", "i.sqsh"]),
        ("apptainer", ["launch.device=cpu"], ["apptainer", "exec", "i.sqsh"]),
    ],
)
def test_ranks_run_the_containers_python(runtime, further, words):
    """The interpreter of this environment is not in it."""
    given = [f"slurm.container_runtime={runtime}", "slurm.container_image=i.sqsh", *further]
    recipe = load_recipe(REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml", given)
    found = srun_words(recipe)
    assert found[6 : 6 + len(words)] == words and found[-1] == "python"
    assert sys.executable not in found
    outside = load_recipe(REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml")
    assert srun_words(outside)[-1] == sys.executable


def test_a_launched_training_runs_outside_of_the_container_that_its_ranks_run_in(monkeypatch):
    recipe = load_recipe(REPOSITORY / "examples" / "sbp_3b_200b" / "recipe.yaml", ["slurm.container_image=i.sqsh"])
    found = variables_of(recipe, None)
    assert found["SBP_COMMAND"] == "python -P -m megatron_sbp"
    assert found["SBP_OUTSIDE_COMMAND"] == f"{sys.executable} -P -m megatron_sbp"
    assert (Path(found["SBP_HOME"]) / "megatron_sbp" / "executor" / "scripts" / "job.sh").exists()
