"""A task that holds more memory than its job requested: Slurm itself ends it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

import pytest
from support import slurm_toy as toy
from support import stage_toys
from support.slurm_array import Array
from support.slurm_cluster import MEMORY_LIMITS, cluster, install_slurm

from megatron_sbp.cli import main
from megatron_sbp.executor import slurm as jobs
from megatron_sbp.executor.claim import claim
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

GRAPH = toy.graph()[:2]
RECIPE = (
    stage_toys.RECIPE.replace("words.txt", "x.jsonl")
    + """
slurm: {partition: cpu, cpu_partition: cpu, time: "00:05:00", cpus_per_task: 1, array_size: 4, memory: MEMORY}
"""
)


@pytest.fixture(scope="module")
def limits() -> Iterator[None]:
    """Another cluster than that of the other tests."""
    install_slurm()
    with cluster(MEMORY_LIMITS):
        yield


@pytest.mark.usefixtures("limits")
def test_a_job_killed_for_memory_is_named_and_goes_on_with_more(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.yaml"

    def submit(memory: str) -> Run:
        recipe.write_text(RECIPE.replace("MEMORY", memory))
        run = Run.of(load_recipe(recipe))
        claim(run)
        (run.root / "megabytes").write_text("900")
        jobs.submit(run, recipe, [], GRAPH, command=shlex.join([sys.executable, toy.__file__]))
        return run

    array = Array(submit("600M"), "squares")
    array.until(lambda: sorted(array.states().values()) == [*["COMPLETED"] * 3, "FAILED"], "the end of all tasks")
    assert main(["status", str(recipe)]) == 0
    said = capsys.readouterr().out
    assert f"job {array.id} (array of 4), squares: COMPLETED 3, FAILED 1" in said, said  # OUT_OF_MEMORY with cgroups
    assert "failed: task 4 on node3" in said and "more memory than it requested" in said and "slurm.memory" in said

    run = submit("2G")
    array.until(lambda: array.states() == {4: "COMPLETED"}, "the end of the task that had too little")
    assert StageRunner(run, GRAPH[0], GRAPH).finished()
