"""Seeded sequences of faults against a training as a Slurm job on two nodes.

As chaos.py, for what a cluster can do to a training: its processes are killed, it is signaled, canceled, put back into
the queue; a node goes down; the controller does not answer; files of checkpoints are damaged; another job trains the
same model; the disk is full. After each fault the job must be gone within 60 seconds, and at the end an undisturbed
job must complete the training with the losses and the weights of an undisturbed run, bit for bit. Where a job refuses,
it names the option that helps.

As a program it runs any number of sequences: `bash scripts/job_chaos.sh /scratch/job-chaos`
(root, with Debian's slurm-wlm and munge).
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import time
import warnings
from pathlib import Path

import psutil
import pytest
from support.checkpoint_tensors import checkpoint_tensors
from support.fault_sequences import Broken, FaultSequence, parser, run_sequences
from support.slurm_cluster import client, cluster, install_slurm, silent
from support.trained_run import MARK, TrainedRun, processes
from support.watched_sequence import ENDS_WITHIN
from support.whole_program import RECIPE, ROOT, environment, run_sbp

from megatron_sbp.checkpoint import tracker
from megatron_sbp.executor.slurm_launch import SCRIPTS
from megatron_sbp.training.metrics import read_metrics

WORDS = ("training.train_tokens=60_000", "training.save_interval=6", "training.log_interval=1",
         "training.megatron={num-workers: 1}", "launch.threads_per_rank=1")  # fmt: skip
ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED"}
SIGNALS = ("TERM", "INT", "HUP")


def prepare(folder: Path) -> None:
    """Makes FOLDER/prepared, all that the training reads, and FOLDER/undisturbed, where it was trained by two ranks."""
    run_sbp("run", RECIPE, f"run_folder={folder / 'prepared'}", *WORDS, "--until", "tokenize")
    _copy(folder / "prepared", folder / "undisturbed")
    run_sbp(
        "train-baseline", RECIPE, f"run_folder={folder / 'undisturbed'}", *WORDS, "launch.ranks_per_node=2",
        "training.save_interval=100",
    )  # fmt: skip


class JobSequence(FaultSequence):
    """One sequence of faults.

    Args:
        seed: of everything that is drawn.
        folder: a new folder; the run is FOLDER/run.
        made: where `prepare` was.
        slurm: folder of the cluster.
    """

    def __init__(self, seed: int, folder: Path, made: Path, slurm: Path):
        super().__init__(seed, folder)
        self.slurm, self.undisturbed = slurm, made / "undisturbed"
        folder.mkdir(parents=True, exist_ok=True)
        _copy(made / "prepared", folder / "run")
        self.training = TrainedRun(folder / "run", *WORDS, "launch.nodes=2")
        self.jobs: list[str] = []

    def go(self, steps: int) -> None:
        for _ in range(steps):
            self._operate(OPERATIONS)
        self._end()
        if _losses(self.training.folder) != _losses(self.undisturbed / "models" / "baseline"):
            raise Broken("other losses than an undisturbed training")
        found, expected = (
            checkpoint_tensors(folder / f"iter_{tracker.read(folder):07d}")
            for folder in (self.training.folder, self.undisturbed / "models" / "baseline")
        )
        differing = [name for name in expected if name not in found or not expected[name].equal(found[name])]
        if differing or found.keys() != expected.keys():
            raise Broken(f"other tensors than an undisturbed training: {differing[:5]}")

    # -- operations ----------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL to one process of the job: `sbp`, srun, a shell, a rank, a loader worker, a checkpoint writer."""
        job = self._working()
        victim = self.random.choice(processes(self.training.run) or [None])
        if victim is not None:
            self._say(f"SIGKILL {_words(victim)}")
            with contextlib.suppress(psutil.Error):
                victim.kill()
        self._await_end(job, time.monotonic())

    def signal_ranks(self) -> None:
        """What a preemption sends."""
        job, number = self._working(), self.random.choice(SIGNALS)
        while self._alive(job) and not self._ranks():  # before that there is nobody whom it would reach
            time.sleep(0.2)
        self._say(f"SIG{number} to the steps of {job}")
        client("scancel", f"--signal={number}", job)
        self._await_end(job, time.monotonic())

    def stop_file(self) -> None:
        """`touch RUN/stop`: the training saves a checkpoint, and the job does not go back into the queue."""
        job, file = self._working(), self.training.run / "stop"
        file.touch()
        self._await_end(job, time.monotonic())
        file.unlink()

    def time_limit(self) -> None:
        """What Slurm sends before a time limit."""
        job = self._working()
        client("scancel", "--signal=USR1", "--batch", job)
        self._await_end(job, time.monotonic())

    def cancel(self) -> None:
        """scancel."""
        job = self._working()
        client("scancel", job)
        self._await_end(job, time.monotonic())

    def requeue(self) -> None:
        """An administrator puts the job back into the queue; it continues, and is canceled later."""
        job = self._working()
        client("scontrol", "requeue", job)
        self._no_process(time.monotonic())
        self._start_now(job)
        self._wait(self.random.uniform(0, 15), job)
        client("scancel", job)
        self._await_end(job, time.monotonic())

    def node_down(self) -> None:
        """A node is set down in mid-training; Slurm kills the job and queues it again."""
        job, node = self._working(), self.random.choice(["node1", "node2"])
        self._say(f"{node} down")
        client("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=chaos")
        try:
            self._no_process(time.monotonic())
        finally:
            time.sleep(1)
            client("scontrol", "update", f"NodeName={node}", "State=RESUME")
        self._start_now(job)
        self._wait(self.random.uniform(0, 15), job)
        client("scancel", job)
        self._await_end(job, time.monotonic())

    def controller(self) -> None:
        """The controller does not answer for a while; the training continues, and is canceled later."""
        job = self._working()
        with silent(self.slurm):
            time.sleep(self.random.uniform(1, 10))
        self._wait(5, job)
        client("scancel", job)
        self._await_end(job, time.monotonic())

    def two_at_once(self) -> None:
        """Two jobs train the same model: one at a time, whatever happens to them."""
        jobs = [self._working(), self._submit()]
        self._wait(self.random.uniform(0, 20), jobs[1])
        if len({process.environ()["SLURM_JOB_ID"] for process in self._ranks()}) > 1:
            raise Broken("the ranks of two jobs train the same model")
        client("scancel", *jobs)
        for job in jobs:
            self._await_end(job, time.monotonic())

    def full_disk(self) -> None:
        """Files of more than a few kilobytes cannot be written."""
        job = self._submit(limit=self.random.choice([8, 64, 512]))
        self._await_end(job, time.monotonic(), bound=240)  # the job ends by itself, once it has come that far

    def damage(self) -> None:
        """A file of the checkpoints is cut, changed in one byte, or removed."""
        files = sorted(path for path in self.training.folder.rglob("*") if path.is_file() and path.stat().st_size)
        if not files:
            return
        file, how = self.random.choice(files), self.random.choice(["cut", "flip", "remove"])
        self._say(f"{how} {file.relative_to(self.training.run)}")
        if how == "remove":
            file.unlink()
            return
        place = self.random.randrange(file.stat().st_size)
        with open(file, "r+b") as handle:
            if how == "cut":
                handle.truncate(place)
            else:
                handle.seek(place)
                byte = handle.read(1)[0]
                handle.seek(place)
                handle.write(bytes([byte ^ (1 << self.random.randrange(8))]))

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _submit(self, *options: str, limit: int | None = None) -> str:
        words = ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1"]
        words += [f"--output={self.folder}/job-%j.out", str(SCRIPTS / "training.sbatch"), "train-baseline", str(RECIPE)]
        words += [*self.training.words, *options]
        variables = {
            **environment(),
            "SBP_HOME": str(ROOT),
            "SBP_COMMAND": shlex.join([sys.executable, "-m", "megatron_sbp"]),
            "SBP_MAX_REQUEUES": "0",
            "SBP_RANK_PATIENCE": "5",
            MARK: str(self.training.run),
        }
        if limit is not None:  # in kilobytes; sbatch hands the limit on to the job
            words = ["bash", "-c", f"ulimit -f {limit}; exec {shlex.join(words)}"]
        done = subprocess.run(words, capture_output=True, text=True, env=variables, timeout=60)
        if done.returncode:
            raise RuntimeError(done.stderr)
        job = done.stdout.strip()
        self._say(f"job {job}, options {options}, limit {limit}")
        self.jobs.append(job)
        return job

    def _working(self) -> str:
        """Submits a job, and waits for some instant of its life: before its ranks are there, or in mid-training."""
        job = self._submit()
        if self.random.random() < 0.25:
            self._wait(self.random.uniform(0, 12), job)
            return job
        begun, wanted = time.monotonic(), self.random.randint(1, 12)
        first = self.training.iteration()
        while self._alive(job) and self.training.iteration() < first + wanted:
            if time.monotonic() - begun > 240:
                raise Broken(f"job {job} does not train: {self._said(job)[-2000:]}")
            time.sleep(0.1)
        return job

    def _wait(self, seconds: float, job: str) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._alive(job):
            time.sleep(0.2)

    def _start_now(self, job: str) -> None:
        """Without the two minutes for which Slurm holds a job that comes back."""
        deadline = time.monotonic() + 60
        while "PENDING" not in _state(job):
            if time.monotonic() > deadline:
                raise Broken(f"job {job} did not come back into the queue: {_state(job)}")
            time.sleep(0.3)
        time.sleep(3)  # in the same second Slurm would refuse its own credential as revoked
        client("scontrol", "update", f"JobId={job}", "StartTime=now")

    def _alive(self, job: str) -> bool:
        return _state(job) in ALIVE

    def _ranks(self) -> list[psutil.Process]:
        return processes(self.training.run, lambda process: "megatron_sbp.training.pretrain" in process.cmdline())

    def _await_end(self, job: str, fault: float, bound: float = ENDS_WITHIN) -> None:
        while self._alive(job):
            if time.monotonic() - fault > bound:
                left = [_words(process) for process in processes(self.training.run)]
                raise Broken(f"job {job} is {_state(job)} {bound:.0f} s after the fault: {left}")
            time.sleep(0.2)
        self._no_process(fault, bound)
        self._say(f"job {job}: {_state(job)}, all gone after {time.monotonic() - fault:.1f} s")
        if bound == ENDS_WITHIN:
            self.slowest = max(self.slowest, time.monotonic() - fault)
        said = self._said(job)
        if "Traceback (most recent call last)" in said:
            raise Broken("a traceback:\n" + said[said.index("Traceback (most recent") :][:3000])

    def _no_process(self, fault: float, bound: float = ENDS_WITHIN) -> None:
        while left := processes(self.training.run):
            if time.monotonic() - fault > bound:
                raise Broken(f"processes are left: {[_words(process) for process in left]}")
            time.sleep(0.2)

    def _end(self) -> None:
        options: list[str] = []
        for _ in range(6):
            job = self._submit(*options)
            self._await_end(job, time.monotonic(), bound=400)
            if _state(job) == "COMPLETED":
                return
            said = self._said(job)
            named = re.search(r"--(discard|repair) train-baseline", said)
            movable = re.search(r"move (\S+) away to train again", said)
            if movable:
                Path(movable.group(1)).rename(self.folder / f"moved-{len(self.asked)}")
            elif named:
                options = [f"--{named.group(1)}", "train-baseline"]
            else:
                raise Broken(f"job {job} is {_state(job)}, and no way on: {said[-2000:]}")
            self.asked.append(said.strip().splitlines()[-1][:300])
        raise Broken(f"no end in sight: {self.asked}")

    def clean_up(self) -> None:
        """Cancels what a broken sequence left."""
        if self.jobs:
            client("scancel", *self.jobs)

    def _said(self, job: str) -> str:
        file = self.folder / f"job-{job}.out"
        return file.read_text(errors="replace") if file.exists() else ""


OPERATIONS = {
    "kill": 4,
    "signal_ranks": 2,
    "time_limit": 1,
    "stop_file": 1,
    "cancel": 1,
    "requeue": 1,
    "node_down": 1,
    "controller": 1,
    "two_at_once": 1,
    "full_disk": 1,
    "damage": 3,
}
"""What a step can be, with its weight."""


def _state(job: str) -> str:
    for _ in range(20):  # the controller may not answer at once
        found = client("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip()
        if found:
            return found
        time.sleep(0.5)
    raise Broken(f"Slurm does not know job {job}")


def _losses(folder: Path) -> dict[int, float]:
    return {row["iteration"]: row["loss"] for row in read_metrics(folder / "metrics.jsonl") if row["kind"] == "train"}


def _words(process: psutil.Process) -> str:
    try:
        return f"{process.pid} ({process.name()}): {' '.join(process.cmdline())[:160]}"
    except psutil.Error:
        return str(process.pid)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", "--preserve=timestamps", source, target], check=True)


def main() -> int:
    options = parser(__doc__, sequences=20, steps=4)
    warnings.filterwarnings("ignore", "torch.distributed is disabled")
    try:
        install_slurm()
    except (pytest.skip.Exception, pytest.fail.Exception) as lacking:
        options.error(str(lacking))
    asked = options.parse_args()
    if not (asked.folder / "undisturbed").exists():
        asked.folder.mkdir(parents=True, exist_ok=True)
        prepare(asked.folder)
    with cluster() as slurm:
        return run_sequences(asked, lambda seed, folder: JobSequence(seed, folder, asked.folder, slurm))


if __name__ == "__main__":
    raise SystemExit(main())
