"""`sbp rehearse`: the paper's recipe on this machine, to the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.cli import main
from megatron_sbp.executor.slurm_queue import OUTSIDE_OF_A_JOB
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages

PAPER = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"
NO_TASKS = "evaluation.harness.task_folder=none"
"""Whether lm-eval's tasks were fetched on this machine or not: without them the stages `harness` and `task-items` are
left out."""


def test_a_dry_run_prints_the_table_and_a_recipe_and_writes_nothing(tmp_path, capsys):
    words = ["rehearse", str(PAPER), "--dry-run", f"run_folder={tmp_path / 'paper'}"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    table, _, recipe = printed.partition(" would be:\n")
    assert "Replaced: none of this was rehearsed" in table and "200,000,000,000" in table
    (tmp_path / "recipe.yaml").write_text(recipe)
    assert load_recipe(tmp_path / "recipe.yaml").run_folder == str(tmp_path / "rehearsal" / "paper" / "run")


def test_a_dry_run_of_jobs_prints_commands_and_writes_nothing(tmp_path, capsys):
    words = ["submit", str(PAPER), "--rehearse", "--dry-run", f"run_folder={tmp_path / 'paper'}", NO_TASKS]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not list(tmp_path.iterdir())
    jobs = [line for line in lines if "=$(sbatch" in line]
    assert len(jobs) == len(all_stages(load_recipe(PAPER))) - 2 and all("--time=00:30:00" in job for job in jobs)
    neighbors = next(job for job in jobs if job.startswith("neighbors="))
    assert "--gpus-per-node=1" in neighbors and "--partition=gpu" in neighbors and "gpu_array.sbatch" in neighbors
    assert all("--discard" in job for job in jobs), "as on this machine: even costly stages take only minutes here"
    others = {*jobs, OUTSIDE_OF_A_JOB, ""}
    assert all(line.startswith(("#", "mkdir", "export")) or line in others for line in lines)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_paper_recipe_to_the_report(tmp_path, capfd):
    words = ["rehearse", str(PAPER), f"run_folder={tmp_path / 'paper'}", NO_TASKS]
    assert main(words) == 0
    run = tmp_path / "rehearsal" / "paper" / "run"
    assert not (tmp_path / "paper").exists()
    results = files.read_json(run / "results.json")
    assert set(results["arms"]) == {"baseline", "sbp", "oracle"} and (run / "report" / "index.html").exists()
    assert "vLLM" in (run / "rehearsal.txt").read_text()
    for pattern in ("documents/train/*.zst", "embeddings/train/*.npy", "neighbors/train/*.npz", "synthetic/0*.zst"):
        assert len(list(run.glob(pattern))) > 1, f"{pattern}: several shards"
    capfd.readouterr()
    assert main(words) == 0  # all of it is there
    assert f"all {len(all_stages(load_recipe(PAPER))) - 2} stages finished" in capfd.readouterr().err
