"""An array of a data stage on a real Slurm: a task killed for memory, one canceled, a node set down, a preemption."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.slurm_cluster import client, closed
from support.trained_run import MARK, processes
from support.whole_program import RECIPE, ROOT, digests, run_sbp

from megatron_sbp.base import files
from megatron_sbp.base.locks import locked
from megatron_sbp.cli import main
from megatron_sbp.executor import slurm_queue
from megatron_sbp.executor.claim import claim
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

FILES = 4
"""Of the corpus: units of `documents`, and tasks of its array."""

WORDS = (
    "documents.train=80", "documents.oracle=40", "documents.valid=20", "documents.test=20",
    "documents.documents_per_shard=30", "slurm.partition=gpu", "slurm.cpu_partition=cpu", "slurm.gpus_per_node=8",
    "slurm.cpus_per_task=1", f"slurm.array_size={FILES}", "launch.device=auto",
)  # fmt: skip


def corpus(folder: Path) -> str:
    """Makes it, and gives the word of the command line that names it."""
    rows = list(files.read_jsonl_zst(ROOT / "examples" / "quickstart" / "foldoc.jsonl.zst"))[: 60 * FILES]
    for number in range(FILES):
        files.write_jsonl_zst(folder / f"{number}.jsonl.zst", rows[number::FILES])
    return f"documents.inputs=[{folder}/*.jsonl.zst]"


class Array:
    """The last job of `documents` of a run."""

    def __init__(self, run: Run):
        self.run = run

    @property
    def id(self) -> str:
        return next(job.id for job in slurm_queue.jobs_of(self.run) if job.stage == "documents")

    def states(self) -> dict[int, str]:
        """States of its tasks."""
        lines = client("squeue", "-h", "-a", "-r", "-t", "all", "-j", self.id, "-o", "%K %T").splitlines()
        return {int(task): state for task, state in map(str.split, lines)}

    def process(self, task: int) -> psutil.Process | None:
        """The stage's process of a task."""

        def is_task(process: psutil.Process) -> bool:
            ours = process.cmdline()[1:4] == ["-m", "megatron_sbp", "documents"]
            return ours and process.environ()["SLURM_ARRAY_TASK_ID"] == str(task)

        return next(iter(processes(self.run.root, is_task)), None)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            if time.monotonic() > deadline:
                logs = [file.read_text() for file in (self.run.root / "logs" / "slurm").glob("*.out")]
                pytest.fail(f"{what} did not come: {client('squeue', '-a', '-r')}\n{''.join(logs)}")
            time.sleep(0.2)

    def until_state(self, task: int, state: str) -> None:
        self.until(lambda: self.states().get(task) == state, f"{state} of task {task}")

    def start_again(self, *tasks: int) -> None:
        """Without the usual two minutes after a requeue."""
        time.sleep(3)  # in the same second Slurm would refuse its own credential as revoked
        for task in tasks:
            client("scontrol", "update", f"JobId={self.id}_{task}", "StartTime=now")


def test_an_array_survives_what_happens_to_its_tasks(slurm, tmp_path, monkeypatch):
    words = [corpus(tmp_path), *WORDS]
    run_sbp("run", RECIPE, f"run_folder={tmp_path}/undisturbed", *words, "--until", "tokenize")
    run = Run.of(load_recipe(RECIPE, [f"run_folder={tmp_path}/run", *words]))
    array = Array(run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(MARK, str(run.root))

    def submit() -> None:
        assert main(["submit", str(RECIPE), f"run_folder={run.root}", *words]) == 0

    def unit_held(number: int):
        """While a unit is held, as by another process, its task waits in mid-stage."""
        return locked(run.root / "stages" / "documents" / f".{number:05d}.lock", "test")

    claim(run)  # else it would not be one to `submit`, with the locks in it
    with closed("gpu"):  # nothing after `tokenize` starts
        with contextlib.ExitStack() as held:
            for number in range(1, FILES):
                held.enter_context(unit_held(number))
            submit()
            array.until(lambda: all(array.process(task) for task in range(2, FILES + 1)), "the start")
            array.until_state(1, "COMPLETED")

            # As the kernel does it when memory runs out. This task has the number of the whole array.
            array.process(4).kill()
            array.until_state(4, "PENDING")
            assert array.states() == {1: "COMPLETED", 2: "RUNNING", 3: "RUNNING", 4: "PENDING"}
            client("scancel", f"{array.id}_2")
            array.until_state(2, "CANCELLED")
            client("scontrol", "update", "NodeName=node3", "State=DOWN", "Reason=test")
            array.until_state(3, "PENDING")
            array.until(lambda: not processes(run.root), "the end of all processes")
            client("scontrol", "update", "NodeName=node3", "State=RESUME")
        array.start_again(3, 4)
        expected = {1: "COMPLETED", 2: "CANCELLED", 3: "COMPLETED", 4: "COMPLETED"}
        array.until(lambda: array.states() == expected, "the end of the others")
        array.until(lambda: not slurm_queue.live_jobs(run), "the end of what depends on it")
        log = run.root / "logs" / "slurm"
        assert "killed (signal 9), probably out of memory" in (log / "faults" / f"{array.id}_4.jsonl").read_text()

        with unit_held(1):
            submit()
            array.until(lambda: array.process(2) is not None, "the start of the missing task")
            assert list(array.states()) == [2], "only the task whose unit is missing"
            urgent = [
                "sbatch",
                "--parsable",
                "--partition=urgent",
                "--nodelist=node3",
                "--exclusive",
                "--output=/dev/null",
            ]
            subprocess.run([*urgent, "--wrap=sleep 1"], check=True, capture_output=True, timeout=60)
            array.until_state(2, "PENDING")
            array.until(lambda: not processes(run.root), "the end of the preempted task")
        array.start_again(2)
        while not (run.manifests / "tokenize.json").exists():
            states = {job.stage: job.state for job in slurm_queue.jobs_of(run)}
            ours = [states[name] for name in ("documents", "tokenizer", "tokenize")]
            assert not any("FAILED" in state or "CANCELLED" in state for state in ours), states
            time.sleep(0.3)
        slurm_queue.cancel(run)
    patterns = ("documents/**/*.zst", "tokenizer/*", "tokens/*.bin", "tokens/*.idx")
    found, undisturbed = digests(run.root, patterns), digests(tmp_path / "undisturbed", patterns)
    assert found == undisturbed and len(found) > 10
