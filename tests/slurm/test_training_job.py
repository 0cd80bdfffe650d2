"""A real training as a Slurm job on two nodes completes, whatever happens to its processes and to its cluster."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mounted import mount, unmount
from support.slurm_cluster import client, silent
from support.trained_run import BOUND, TrainedRun, processes
from support.training_job import (
    WORDS,
    WORKERS,
    assert_as_undisturbed,
    back_in_the_queue,
    copy,
    ended,
    held,
    in_the_middle,
    preempt,
    prepare,
    second_rank,
    start_again,
    state,
    submit,
)

from megatron_sbp.checkpoint import tracker
from megatron_sbp.executor.job_rows import read_rows

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(900)]

IMPATIENT = "training.megatron={num-workers: 1, distributed-timeout-seconds-after-init: 8}"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """What `prepare` makes."""
    folder = tmp_path_factory.mktemp("made")
    prepare(folder)
    return folder


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
    [sbp] = processes(training.run, lambda process: process.cmdline()[1:4] == ["-P", "-m", "megatron_sbp"])
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
    back_in_the_queue(training, job, log, fault)
    [row] = read_rows(faults / f"{job}.jsonl")
    assert "hangs" in row["cause"] and row["node"] == "", row
    start_again(job)

    assert ended(training, job, log, time.monotonic(), bound=300) == "COMPLETED", log.read_text()
    assert "Restarts=1" in client("scontrol", "show", "job", job)
    assert f"step {saved} of" in (training.run / "logs" / "train-baseline" / "training.log").read_text()
    assert_as_undisturbed(training, TrainedRun(made / "undisturbed"))


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A folder for the run, which is a small file system where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    print(mount(folder, "size=64m"))
    yield folder
    unmount(folder)


def trains_to_the_end(training: TrainedRun, log: Path) -> None:
    """Waits for it, and asks Slurm nothing."""
    note, deadline = training.folder / "stopped.txt", time.monotonic() + 300
    while not (note.exists() and note.read_text() == "end of the plan"):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def fill(disk: Path, training: TrainedRun, log: Path, told: dict[str, str]) -> None:
    """A training job fails since the disk is full; afterwards there is room again."""
    job = submit(training, log, **told)
    rank = held(training, job, log, 12)
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    rank.resume()
    assert ended(training, job, log, time.monotonic()) == "FAILED"
    said = log.read_text()
    assert "the disk is full" in said and "in the queue" not in said, said
    assert "ExitCode=2:0" in client("scontrol", "show", "job", job)
    (disk / "filler").unlink()
    assert tracker.read(training.folder) >= 10


def test_a_training_job_survives_what_happens_to_its_cluster(slurm, made, disk, tmp_path):
    """The disk is full, a node is set down, the job is canceled, a more urgent one takes a node, and the controller is
    silent while the training continues to its end."""
    log, faults = tmp_path / "job.out", tmp_path / "faults"
    copy(made / "prepared", disk / "run")
    training = TrainedRun(disk / "run", *WORDS, WORKERS, "launch.nodes=2")
    told = {"SBP_MAX_REQUEUES": "5", "SBP_MAX_RETRIES": "1", "SBP_FAULTS": str(faults), "SBP_RANK_PATIENCE": "3"}

    if disk.is_mount():
        fill(disk, training, log, told)

    job = submit(training, log, **told)
    held(training, job, log, training.iteration() + 2)
    client("scontrol", "update", "NodeName=node2", "State=DOWN", "Reason=test")
    back_in_the_queue(training, job, log, time.monotonic())
    client("scontrol", "update", "NodeName=node2", "State=RESUME")
    start_again(job)
    held(training, job, log, training.iteration() + 2)
    client("scancel", job)
    assert ended(training, job, log, time.monotonic()) == "CANCELLED"

    job = submit(training, log, **told)
    held(training, job, log, training.iteration() + 2)
    preempt("node1")
    back_in_the_queue(training, job, log, time.monotonic())
    start_again(job)
    in_the_middle(training, job, log, training.iteration() + 2)
    with silent(slurm):
        assert client("squeue", "-h", "-t", "all", "-j", job) == ""
        trains_to_the_end(training, log)
    assert ended(training, job, log, time.monotonic(), bound=300) == "COMPLETED", log.read_text()
    assert not list(faults.glob("*.jsonl")), "none of this is a fault of the training"
    assert_as_undisturbed(training, TrainedRun(made / "undisturbed"))


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
    urgent = preempt("node1")
    back_in_the_queue(training, job, log, fault)
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
    assert_as_undisturbed(training, TrainedRun(made / "undisturbed"))
