"""Jobs at their real time limit, one minute: two that Slurm warns, and one that gets no warning.

They mostly wait, all three at once: Slurm looks for such jobs twice a minute.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import slurm_toy as toy
from support import stage_toys
from support.slurm_cluster import client

from megatron_sbp.cli import main
from megatron_sbp.executor import slurm, slurm_queue
from megatron_sbp.executor.claim import claim
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

GRAPH = toy.graph()[:2]
WARNED, NOT_WARNED = "--signal=B:USR1@30", "--signal=B:CONT@30"
"""30 seconds before the limit, or up to a minute earlier; SIGCONT is none that a shell notices."""


@dataclass
class Limited:
    """A run whose last stage waits as a job with a limit of one minute."""

    run: Run
    job: str
    begun: float

    @property
    def log(self) -> str:
        """What the job printed."""
        return "".join(file.read_text() for file in self.run.job_logs.glob(f"*{self.job}*.out"))

    def until(self, *states: str) -> str:
        deadline = time.monotonic() + 200
        while (found := client("squeue", "-h", "-t", "all", "-j", self.job, "-o", "%T").strip()) not in states:
            assert time.monotonic() < deadline and found != "FAILED", f"{found}\n{self.log}"
            time.sleep(0.5)
        print(f"job {self.job}: {found} after {time.monotonic() - self.begun:.0f} s")
        return found

    def completes(self) -> None:
        """It does, now that nothing keeps the stage waiting."""
        (self.run.root / "slow").unlink()
        time.sleep(3)  # in the same second Slurm would refuse its own credential as revoked
        client("scontrol", "update", f"JobId={self.job}", "StartTime=now")
        self.until("COMPLETED")
        assert StageRunner(self.run, GRAPH[-1], GRAPH).finished()


def submit(run: Run) -> list[slurm_queue.Job]:
    command = shlex.join([sys.executable, toy.__file__])
    return slurm.submit(run, run.recipe.source, [], GRAPH, command=command)


def start(folder: Path, how: str, signal: str) -> Limited:
    """Submits the stage `total`, which begins to wait; `deaf` ignores SIGTERM."""
    folder.mkdir()
    site = f'{{partition: cpu, cpu_partition: cpu, time: "00:01:00", cpus_per_task: 1, sbatch: ["{signal}"]}}'
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"{stage_toys.RECIPE.replace('words.txt', 'x.jsonl')}\nslurm: {site}\n")
    run = Run.of(load_recipe(recipe))
    claim(run)
    StageRunner(run, by_name(GRAPH, "squares"), GRAPH).execute()
    (run.root / "slow").write_text(how)
    [job] = submit(run)
    limited = Limited(run, job.id, time.monotonic())
    limited.until("RUNNING")
    return limited


@pytest.fixture(scope="module")
def jobs(slurm, tmp_path_factory) -> Iterator[dict[str, Limited]]:
    """All of them, by name, in a folder of their own."""
    folder = tmp_path_factory.mktemp("jobs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield {
            "heeds": start(folder / "heeds", "slow", WARNED),
            "deaf": start(folder / "deaf", "deaf", WARNED),
            "ended": start(folder / "ended", "slow", NOT_WARNED),
        }


def test_a_time_limit_puts_jobs_back_into_the_queue(jobs):
    """Nobody sends a signal but Slurm; one process ends when it is asked to, the other ignores that."""
    for each in (jobs["heeds"], jobs["deaf"]):
        each.until("PENDING")
        assert (each.run.root / "slow").read_text() == "began" and "the time limit is near" in each.log
        assert ("killed before its time limit" in each.log) == (each is jobs["deaf"])
        each.completes()
        assert "Restarts=1" in client("scontrol", "show", "job", each.job)


def test_a_job_that_its_time_limit_ended_is_named_and_submitted_again(jobs, capsys):
    ended = jobs["ended"]
    ended.until("TIMEOUT")
    assert main(["status", str(ended.run.recipe.source)]) == 0
    said = capsys.readouterr().out
    assert f"job {ended.job}, total: TIMEOUT" in said, said
    assert "its time limit ended it" in said and "DUE TO TIME LIMIT" in said and "`sbp submit`" in said
    [again] = submit(ended.run)
    ended.job = again.id
    ended.completes()
