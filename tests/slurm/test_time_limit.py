"""A job that Slurm itself warns of its time limit; Slurm looks for such jobs twice a minute: mostly waiting."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import slurm_toy as toy
from support import stage_toys
from support.slurm_cluster import client
from support.whole_program import ROOT

from megatron_sbp.executor.claim import claim
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.executor.slurm_launch import SCRIPTS
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def until(job: str, state: str, log: Path) -> None:
    deadline = time.monotonic() + 200
    while (found := client("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip()) != state:
        assert time.monotonic() < deadline and found != "FAILED", f"{found}\n{log.read_text()}"
        time.sleep(0.5)


def test_a_time_limit_puts_the_job_back_into_the_queue(slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SBP_COMMAND", shlex.join([sys.executable, toy.__file__]))
    monkeypatch.setenv("SBP_HOME", str(ROOT))
    recipe, log = tmp_path / "recipe.yaml", tmp_path / "job.out"
    recipe.write_text(stage_toys.RECIPE.replace("words.txt", "x.jsonl"))
    run = Run.of(load_recipe(recipe))
    claim(run)
    subprocess.run([sys.executable, toy.__file__, "squares", str(recipe)], check=True, timeout=60)
    (run.root / "slow").write_text("")
    words = ["--parsable", "--partition=cpu", "--cpus-per-task=1", "--time=1", "--signal=B:USR1@30", f"--output={log}"]
    words += [str(SCRIPTS / "single.sbatch"), "total", str(recipe)]
    job = subprocess.run(["sbatch", *words], check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    until(job, "RUNNING", log)
    begun = time.monotonic()
    until(job, "PENDING", log)  # nobody sent a signal but Slurm
    print(f"back in the queue after {time.monotonic() - begun:.0f} s\n{log.read_text()}")
    assert (run.root / "slow").read_text() == "began" and "time limit" in log.read_text()
    (run.root / "slow").unlink()
    time.sleep(3)  # in the same second Slurm would refuse its own credential as revoked
    client("scontrol", "update", f"JobId={job}", "StartTime=now")
    until(job, "COMPLETED", log)
    assert "Restarts=1" in client("scontrol", "show", "job", job)
    assert StageRunner(run, by_name(toy.graph(), "total"), toy.graph()).finished()
