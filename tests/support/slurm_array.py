"""The array of a stage on the test cluster, and what can happen to its tasks."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.slurm_cluster import client
from support.trained_run import processes

from megatron_sbp.executor import slurm_queue
from megatron_sbp.stages.run_folder import Run


class Array:
    """The last job of a stage of a run, all of it on node3."""

    def __init__(self, run: Run, stage: str):
        self.run, self.stage = run, stage

    @property
    def id(self) -> str:
        return next(job.id for job in slurm_queue.jobs_of(self.run) if job.stage == self.stage)

    def states(self) -> dict[int, str]:
        """States of its tasks."""
        lines = client("squeue", "-h", "-a", "-r", "-t", "all", "-j", self.id, "-o", "%K %T").splitlines()
        return {int(task): state for task, state in map(str.split, lines)}

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

    def disturb(self, process: psutil.Process) -> None:
        """Kills the process of task 4 as for memory, cancels task 2, and sets down the node of task 3; task 1 is
        through. Then 3 and 4 start again."""
        self.kill(4, process)  # This task has the number of the whole array.
        assert self.states() == {1: "COMPLETED", 2: "RUNNING", 3: "RUNNING", 4: "PENDING"}
        self.cancel(2)
        self.set_node_down(3)

    def kill(self, task: int, process: psutil.Process) -> None:
        """As the kernel does it when memory runs out; the task goes back into the queue."""
        process.kill()
        self.until_state(task, "PENDING")

    def cancel(self, task: int) -> None:
        client("scancel", f"{self.id}_{task}")
        self.until_state(task, "CANCELLED")

    def set_node_down(self, task: int) -> None:
        """Sends the last running task back into the queue; then the node is there again."""
        client("scontrol", "update", "NodeName=node3", "State=DOWN", "Reason=test")
        self.until_state(task, "PENDING")
        self.until(lambda: not processes(self.run.root), "the end of all processes")
        client("scontrol", "update", "NodeName=node3", "State=RESUME")

    def end_of_the_disturbed(self) -> None:
        """Lets tasks 3 and 4 start again, and waits for their end."""
        self.start_again(3, 4)
        expected = {1: "COMPLETED", 2: "CANCELLED", 3: "COMPLETED", 4: "COMPLETED"}
        self.until(lambda: self.states() == expected, "the end of the others")
        [fault] = (self.run.root / "logs" / "slurm" / "faults").glob("*.jsonl")  # nothing else was one
        assert fault.stem == f"{self.id}_4"
        assert "killed (signal 9), probably out of memory" in fault.read_text()

    def preempt(self, task: int) -> None:
        """Sends it back into the queue by a job in a partition of a higher tier that wants the whole node."""
        words = ["--parsable", "--partition=urgent", "--nodelist=node3", "--exclusive", "--output=/dev/null"]
        subprocess.run(["sbatch", *words, "--wrap=sleep 1"], check=True, capture_output=True, timeout=60)
        self.until_state(task, "PENDING")
        self.until(lambda: not processes(self.run.root), "the end of the preempted task")
        faults = self.run.root / "logs" / "slurm" / "faults"
        assert not (faults / f"{self.id}_{task}.jsonl").exists(), "a preemption is no fault"


class Holds:
    """Where tasks of a run wait in the middle of their unit."""

    def __init__(self, folder: Path, where: str):
        self._folder, self._where = folder, where
        folder.mkdir()

    @contextlib.contextmanager
    def __call__(self, *tasks: int) -> Iterator[None]:
        """Inside the block these tasks wait."""
        for task in tasks:
            (self._folder / f"{task}.reached").unlink(missing_ok=True)
            (self._folder / str(task)).write_text(self._where)
        try:
            yield
        finally:
            for task in tasks:
                (self._folder / str(task)).unlink()

    def process(self, task: int) -> psutil.Process | None:
        """The process of a task that waits."""
        file = self._folder / f"{task}.reached"
        return psutil.Process(int(file.read_text())) if file.exists() and file.read_text() else None
