"""A real training as a Slurm job on two nodes: a rank is killed, `sbp` is signalled, a rank hangs; it completes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.trained_run import BOUND, MARK, TrainedRun, processes
from support.whole_program import RECIPE, ROOT, environment, run_sbp

from megatron_sbp.checkpoint import tracker
from megatron_sbp.executor.job_rows import read_rows
from megatron_sbp.executor.slurm_launch import SCRIPTS

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(900)]

WORDS = ("training.train_tokens=70_000", "training.save_interval=10", "training.log_interval=1")
WORKERS = "training.megatron={num-workers: 1}"
IMPATIENT = "training.megatron={num-workers: 1, distributed-timeout-seconds-after-init: 8}"


def client(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=30).stdout


def submit(training: TrainedRun, log: Path, **more: str) -> str:
    """Submits train-baseline by hand, as slurm/README.md shows it, with further variables; returns the job's number."""
    words = ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", f"--output={log}"]
    words += [str(SCRIPTS / "training.sbatch"), "train-baseline", str(RECIPE), *training.words]
    variables = {
        **environment(),
        "SBP_HOME": str(ROOT),
        "SBP_COMMAND": shlex.join([sys.executable, "-m", "megatron_sbp"]),
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
    from megatron_sbp.training.metrics import read_metrics

    rows = read_metrics(training.folder / "metrics.jsonl")
    return {row["iteration"]: row["loss"] for row in rows if row["kind"] == "train"}


def in_the_middle(training: TrainedRun, job: str, log: Path, step: int) -> None:
    """Waits until the job has trained beyond a step."""
    deadline = time.monotonic() + 300
    while training.iteration() < step:
        assert time.monotonic() < deadline and state(job) in ("PENDING", "CONFIGURING", "RUNNING"), log.read_text()
        time.sleep(0.05)


def second_rank(training: TrainedRun) -> psutil.Process:
    def is_second(process: psutil.Process) -> bool:
        return process.environ().get("RANK") == "1" and "python" in process.name() and bool(process.children())

    [found] = processes(training.run, is_second)
    return found


def ended(training: TrainedRun, job: str, log: Path, fault: float, bound: float = BOUND) -> str:
    """The job's state, once it has ended and no process of it is left."""
    while (left := processes(training.run)) or state(job) in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
        assert time.monotonic() - fault < bound, f"{state(job)}, {left}\n{log.read_text()}"
        time.sleep(0.2)
    print(f"the job ended {time.monotonic() - fault:.1f} s later: {state(job)}")
    return state(job)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with `prepared`, all that the training reads, and `undisturbed`, trained by two ranks here."""
    folder = tmp_path_factory.mktemp("made")
    run_sbp("run", RECIPE, f"run_folder={folder / 'prepared'}", *WORDS, "--until", "tokenize")
    copy(folder / "prepared", folder / "undisturbed")
    run_sbp(
        "train-baseline", RECIPE, f"run_folder={folder / 'undisturbed'}", *WORDS, WORKERS, "launch.ranks_per_node=2"
    )
    return folder


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", "--preserve=timestamps", source, target], check=True)


def start_again(job: str) -> None:
    """Without the usual two minutes after a requeue."""
    time.sleep(3)  # in the same second Slurm would refuse its own credential as revoked
    client("scontrol", "update", f"JobId={job}", "StartTime=now")


@pytest.mark.parametrize(
    "launcher", ["srun", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("torchrun", "ft_launcher"))]
)
def test_a_training_job_survives_what_happens_to_it(slurm, made, tmp_path, monkeypatch, launcher):
    if launcher == "ft_launcher":
        found = pytest.importorskip("nvidia_resiliency_ext.fault_tolerance").__file__
        monkeypatch.setenv("SBP_SETUP", f"export PYTHONPATH=$PYTHONPATH:{Path(found).parents[2]}")
    log = tmp_path / "job.out"
    copy(made / "prepared", tmp_path / "run")
    training = TrainedRun(tmp_path / "run", *WORDS, WORKERS, "launch.nodes=2", f"slurm.launcher={launcher}")

    job = submit(training, log)
    in_the_middle(training, job, log, 12)
    second_rank(training).kill()
    assert ended(training, job, log, time.monotonic()) == "FAILED"
    said = log.read_text()
    node = "node." if launcher == "ft_launcher" else "node2"  # which numbers the nodes as they come
    assert re.search(f"train-baseline: rank 1 of 2 on {node} was killed .SIGKILL., probably out of memory", said), said
    assert "in the queue" not in said and "ExitCode=1:0" in client("scontrol", "show", "job", job)
    reached = training.iteration()

    job = submit(training, log)
    in_the_middle(training, job, log, reached + 5)
    [sbp] = processes(training.run, lambda process: process.cmdline()[1:3] == ["-m", "megatron_sbp"])
    sbp.terminate()
    assert ended(training, job, log, time.monotonic()) == "FAILED"
    said = log.read_text()
    assert "SIGTERM: asking for a checkpoint" in said and "giving up" in said, said
    assert "ExitCode=3:0" in client("scontrol", "show", "job", job)
    saved = tracker.read(training.folder)
    assert saved >= reached + 5 and saved == training.iteration()

    # The other rank waits for the one that hangs until its time-out; the job is retried from the last checkpoint.
    training.words[training.words.index(WORKERS)] = IMPATIENT
    faults = tmp_path / "faults"
    job = submit(training, log, SBP_FAULTS=str(faults), SBP_MAX_RETRIES="1", SBP_MAX_REQUEUES="1")
    in_the_middle(training, job, log, saved + 3)
    hanging = second_rank(training)
    hanging.suspend()
    fault = time.monotonic()
    while processes(training.run) or state(job) != "PENDING":
        assert time.monotonic() - fault < BOUND, f"{state(job)}\n{log.read_text()}"
        time.sleep(0.2)
    [row] = read_rows(faults / f"{job}.jsonl")
    assert "hangs" in row["cause"] and row["node"] == "", row
    print(f"back in the queue after {time.monotonic() - fault:.1f} s: {row['cause']}")
    start_again(job)

    assert ended(training, job, log, time.monotonic(), bound=300) == "COMPLETED", log.read_text()
    assert "Restarts=1" in client("scontrol", "show", "job", job)
    assert f"step {saved} of" in (training.run / "logs" / "train-baseline" / "training.log").read_text()
    assert losses(training) == losses(TrainedRun(made / "undisturbed")) and len(losses(training)) == 69


@pytest.mark.exhaustive
@pytest.mark.parametrize("grace", [40, 0])
def test_a_preempted_training_job_goes_on(slurm, made, tmp_path, grace):
    """A job of a higher tier takes a node. Slurm tells the ranks so, and kills them after the partition's GraceTime;
    without one it kills them after KillWait, which is 5 seconds here."""
    log = tmp_path / "job.out"
    copy(made / "prepared", tmp_path / "run")
    training = TrainedRun(tmp_path / "run", *WORDS, WORKERS, "launch.nodes=2")
    client("scontrol", "update", "PartitionName=gpu", f"GraceTime={grace}")
    job = submit(training, log, SBP_MAX_REQUEUES="5", SBP_MAX_RETRIES="1", SBP_FAULTS=str(tmp_path / "faults"))
    in_the_middle(training, job, log, 12)
    reached, fault = training.iteration(), time.monotonic()
    words = ["--parsable", "--partition=urgent", "--nodelist=node1", "--exclusive", "--output=/dev/null"]
    urgent = client("sbatch", *words, "--wrap=sleep 1").strip()
    while processes(training.run) or state(job) != "PENDING":
        assert time.monotonic() - fault < BOUND and state(job) != "FAILED", f"{state(job)}\n{log.read_text()}"
        time.sleep(0.2)
    print(f"back in the queue after {time.monotonic() - fault:.1f} s\n{log.read_text()}")
    saved = tracker.read(training.folder)
    if grace:
        assert saved >= reached and saved == training.iteration(), "the checkpoint that the signal asked for"
    while state(urgent) != "COMPLETED":
        assert time.monotonic() - fault < 2 * BOUND, state(urgent)
        time.sleep(0.2)
    start_again(job)
    assert ended(training, job, log, time.monotonic(), bound=300) == "COMPLETED", log.read_text()
    assert "Restarts=1" in client("scontrol", "show", "job", job)
    assert not list((tmp_path / "faults").glob("*.jsonl")), "a preemption is no fault"
    assert f"step {saved} of" in (training.run / "logs" / "train-baseline" / "training.log").read_text()
    assert losses(training) == losses(TrainedRun(made / "undisturbed")) and len(losses(training)) == 69
