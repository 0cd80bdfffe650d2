"""A real training as a Slurm job on two nodes of the test cluster: submitted, watched, and compared."""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path

import psutil
from support.checkpoint_tensors import checkpoint_tensors
from support.slurm_cluster import client
from support.trained_run import BOUND, MARK, TrainedRun, processes
from support.whole_program import RECIPE, ROOT, environment, run_sbp

from megatron_sbp.base.processes import module_words
from megatron_sbp.checkpoint import tracker
from megatron_sbp.executor.slurm_launch import SCRIPTS
from megatron_sbp.training.metrics import read_metrics

WORDS = ("training.train_tokens=70_000", "training.save_interval=10", "training.log_interval=1")
STEPS = 69
"""Of the training."""

WORKERS = "training.megatron={num-workers: 1}"


def prepare(folder: Path) -> None:
    """Makes FOLDER/prepared, all that the training reads, and FOLDER/undisturbed, where it was trained by two ranks."""
    run_sbp("run", RECIPE, f"run_folder={folder / 'prepared'}", *WORDS, "--until", "tokenize")
    copy(folder / "prepared", folder / "undisturbed")
    run_sbp(
        "train-baseline", RECIPE, f"run_folder={folder / 'undisturbed'}", *WORDS, WORKERS, "launch.ranks_per_node=2"
    )


def copy(source: Path, target: Path) -> None:
    """A run folder that is as finished as the other."""
    subprocess.run(["cp", "-r", "--preserve=timestamps", source, target], check=True)


def submit(training: TrainedRun, log: Path, **more: str) -> str:
    """Submits train-baseline by hand, as slurm/README.md shows it, with further variables; returns the job's number."""
    words = ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", f"--output={log}"]
    words += [str(SCRIPTS / "training.sbatch"), "train-baseline", str(RECIPE), *training.words]
    variables = {
        **environment(),
        "SBP_HOME": str(ROOT),
        "SBP_COMMAND": shlex.join(module_words("megatron_sbp")),
        "SBP_MAX_REQUEUES": "0",
        MARK: str(training.run),
        **more,
    }
    done = subprocess.run(words, capture_output=True, text=True, env=variables, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def state(job: str) -> str:
    """As Slurm has it; a controller that is busy may not answer at once."""
    deadline = time.monotonic() + 30
    while not (found := client("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip()):
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    return found


def losses(training: TrainedRun) -> dict[int, float]:
    rows = read_metrics(training.folder / "metrics.jsonl")
    return {row["iteration"]: row["loss"] for row in rows if row["kind"] == "train"}


def in_the_middle(training: TrainedRun, job: str, log: Path, step: int) -> None:
    """Waits until the job has trained beyond a step."""
    deadline = time.monotonic() + 300
    while training.iteration() < step:
        assert time.monotonic() < deadline and state(job) in ("PENDING", "CONFIGURING", "RUNNING"), log.read_text()
        time.sleep(0.05)


def held(training: TrainedRun, job: str, log: Path, step: int) -> psutil.Process:
    """Waits until the job has trained beyond a step, and suspends the second rank, for which the other then waits."""
    found: list[psutil.Process] = []
    deadline = time.monotonic() + 300
    while not found or training.iteration() < step:
        assert time.monotonic() < deadline and state(job) in ("PENDING", "CONFIGURING", "RUNNING"), log.read_text()
        found = found or _second_rank(training)
    found[0].suspend()
    return found[0]


def second_rank(training: TrainedRun) -> psutil.Process:
    """The process of the second rank of a training that has begun."""
    [found] = _second_rank(training)
    return found


def _second_rank(training: TrainedRun) -> list[psutil.Process]:
    def is_second(process: psutil.Process) -> bool:
        # Its loader workers have no children.
        trains = "megatron_sbp.training.pretrain" in process.cmdline() and bool(process.children())
        return trains and process.environ().get("RANK") == "1" and "python" in process.name()

    return processes(training.run, is_second)


def ended(training: TrainedRun, job: str, log: Path, fault: float, bound: float = BOUND) -> str:
    """The job's state, once it has ended and no process of it is left."""
    while (left := processes(training.run)) or state(job) in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
        assert time.monotonic() - fault < bound, f"{state(job)}, {left}\n{log.read_text()}"
        time.sleep(0.2)
    print(f"the job ended {time.monotonic() - fault:.1f} s later: {state(job)}")
    return state(job)


def back_in_the_queue(training: TrainedRun, job: str, log: Path, fault: float) -> None:
    """Waits until Slurm or the job itself has put it there, and no process of it is left."""
    while processes(training.run) or state(job) != "PENDING":
        assert time.monotonic() - fault < BOUND and state(job) != "FAILED", f"{state(job)}\n{log.read_text()}"
        time.sleep(0.2)
    print(f"back in the queue after {time.monotonic() - fault:.1f} s")


def preempt(node: str) -> str:
    """Submits a short job of a higher tier that wants the whole node; returns its number."""
    words = ["--parsable", "--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null"]
    return client("sbatch", *words, "--wrap=sleep 1").strip()


def start_again(job: str) -> None:
    """Without the usual two minutes after a requeue."""
    time.sleep(3)  # in the same second Slurm would refuse its own credential as revoked
    client("scontrol", "update", f"JobId={job}", "StartTime=now")


def assert_as_undisturbed(training: TrainedRun, undisturbed: TrainedRun) -> None:
    """The losses of all steps and the tensors of the last checkpoint are those of the other, bit for bit."""
    assert losses(training) == losses(undisturbed) and len(losses(training)) == STEPS
    folders = [run.folder / f"iter_{tracker.read(run.folder):07d}" for run in (training, undisturbed)]
    one, other = map(checkpoint_tensors, folders)
    assert one.keys() == other.keys() and len(one) > 10
    assert not [name for name in one if not one[name].equal(other[name])]
