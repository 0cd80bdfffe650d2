"""Whole training runs by `sbp` with loader workers, and what happens to them: they end soon, say why, and resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.trained_run import TrainedRun, checkpoint_writers, loader_workers
from support.whole_program import RECIPE, run_sbp

import megatron_sbp
from megatron_sbp.checkpoint import tracker
from megatron_sbp.recipe import Launch
from megatron_sbp.training import launch
from megatron_sbp.training.metrics import Metrics, read_metrics
from megatron_sbp.training.rank_flags import process_options

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

FAULTY = "training.megatron={spec: [support.faulty_spec, layer_spec], num-workers: 1%s}"
STEPS = "training.train_tokens=100_000"
OFTEN = (STEPS, "training.save_interval=5", "training.log_interval=1")


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory) -> Path:
    """A run folder with everything that the baseline reads."""
    folder = tmp_path_factory.mktemp("tokenized") / "run"
    run_sbp("run", RECIPE, f"run_folder={folder}", STEPS, "--until", "tokenize")
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 60 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no mount here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Fills the disk with a file, and returns it."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"0" * 4096)
        except OSError:
            return filler


def copied(tokenized: Path, disk: Path) -> Path:
    run = disk / "run"
    subprocess.run(["cp", "-r", "--preserve=timestamps", tokenized, run], check=True)
    return run


def test_ranks_in_a_container_have_its_python_and_no_site_packages_of_this_one(tmp_path, monkeypatch):
    (tmp_path / "srun").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(megatron_sbp, "__file__", str(tmp_path / "site-packages" / "megatron_sbp" / "__init__.py"))
    words = ["-P", "-m", "megatron_sbp.training.pretrain", "--sbp-die-with-parent", "--sbp-device", "auto", "--bf16"]
    with launch.processes(Launch(), ["--bf16"], ["srun", "bash", "rank.sh", "python"]) as [srun]:
        assert srun.command == ["srun", "bash", "rank.sh", "python", *words]
        assert "PYTHONPATH" not in srun.environment
    with launch.processes(Launch(), ["--bf16"], ["srun", "bash", "rank.sh", sys.executable]) as [srun]:
        assert srun.command == ["srun", "bash", "rank.sh", sys.executable, *words]
        assert srun.environment["PYTHONPATH"].startswith(str(tmp_path / "site-packages"))


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_ranks_are_told_the_device(device):
    options, others = process_options(launch.rank_command(Launch(device=device), ["--bf16"])[4:])
    assert (options.sbp_device, options.sbp_die_with_parent, others) == (device, True, ["--bf16"])


def test_ranks_keep_the_connections_that_the_user_chose(monkeypatch):
    monkeypatch.delenv("CUDA_DEVICE_MAX_CONNECTIONS", raising=False)
    assert launch.environment(Launch())["CUDA_DEVICE_MAX_CONNECTIONS"] == "1"
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    assert launch.environment(Launch())["CUDA_DEVICE_MAX_CONNECTIONS"] == "32"


def test_progress_is_said_when_there_is_something_new_and_read_no_more_often(tmp_path, monkeypatch, capsys):
    file, reads = tmp_path / "metrics.jsonl", []
    monkeypatch.setattr(launch, "read_metrics", lambda *about: reads.append(read_metrics(*about)) or reads[-1])
    progress = launch.Progress(file, "train-sbp", 400, every=0)
    progress.say()
    metrics = Metrics(file)
    metrics.append(
        {"kind": "train", "iteration": 5, "samples": 40, "tokens": 4000, "loss": 5.5, "tokens_per_second": 50}
    )
    for _ in range(3):
        progress.say()
    metrics.append({"kind": "valid", "iteration": 5, "loss": 5.25})
    progress.say()
    said = "train-sbp: step 5, 40 of 400 samples (10 %), loss 5.500"
    assert capsys.readouterr().err.splitlines() == [
        f"{said}, 50 tokens/s, 12m 00s left", f"{said}, held-out 5.250, 50 tokens/s, 12m 00s left",
    ]  # fmt: skip
    assert list(map(len, reads)) == [0, 1]  # of the rows of steps, which may be a million, the last one only


@pytest.mark.exhaustive  # workers: the two ranks below; SIGKILL and SIGINT of the parent: test_chaos.py
def test_every_end_of_a_rank_and_its_workers(tokenized, small_disk):
    """Every start resumes from the one before: the last one completes the training."""
    run = copied(tokenized, small_disk)
    training = TrainedRun(run, *OFTEN, FAULTY % "")

    started = training.start()
    [rank] = started.ranks()
    workers = loader_workers(rank)
    assert len(workers) >= 2
    workers[0].kill()
    end = started.end(time.monotonic(), status=1)
    assert (
        f"rank 0: its DataLoader worker (pid {workers[0].pid}) was killed (SIGKILL), probably out of mem" in end.output
    )
    assert "training.log" in end.output and "Traceback" not in end.output.split("The end of its output")[0]

    started = training.start()
    assert started.resumed() >= 5
    (run / "raise").touch()
    end = started.end(time.monotonic(), status=1)
    assert "rank 0: ValueError: " in end.output and "was told to fail" in end.output
    (run / "raise").unlink()

    started = training.start()
    started.process.kill()
    started.end(time.monotonic(), status=-signal.SIGKILL)
    assert (training.folder / "running.json").exists()  # of a process that is gone: no hindrance

    started = training.start()
    started.interrupt_group()
    end = started.end(time.monotonic(), status=3)
    assert end.output.count("SIGINT: asking for a checkpoint") == 1
    saved = tracker.read(training.folder)
    assert saved > started.resumed() and saved >= training.iteration()

    training.finish()


def test_every_end_of_two_ranks(tokenized, small_disk):
    """A worker killed, an exception, a rank killed, a second start although the lock is gone, the disk full."""
    run = copied(tokenized, small_disk)
    training = TrainedRun(run, *OFTEN, FAULTY % "", "launch.ranks_per_node=2")

    started = training.start()
    worker = loader_workers(started.ranks()[1])[0]
    worker.kill()
    end = started.end(time.monotonic(), status=1)
    assert f"its DataLoader worker (pid {worker.pid}) was killed (SIGKILL), probably out of mem" in end.output

    started = training.start()
    (run / "raise").touch()
    end = started.end(time.monotonic(), status=1)
    assert ": ValueError: " in end.output and "was told to fail" in end.output
    (run / "raise").unlink()

    started = training.start()
    started.ranks()[1].kill()
    end = started.end(time.monotonic(), status=1)
    assert "rank 1 of 2 was killed (SIGKILL), probably out of memory" in end.output

    started = training.start()
    assert started.resumed() >= 5
    for lock in (run / "stages" / "train-baseline").glob(".*.lock"):
        lock.unlink()
    for rank in started.ranks():
        rank.suspend()  # a second start takes its time
    refused = run_sbp("train-baseline", RECIPE, *training.words, status=2)
    assert f"is being trained by process {started.process.pid} on " in refused
    for rank in started.ranks():
        rank.resume()
    filler = fill(small_disk)
    end = started.end(time.monotonic(), status=2)
    assert "sbp: error: the disk is full while writing" in end.output and "models/baseline" in end.output
    filler.unlink()

    training.finish()


@pytest.mark.exhaustive
def test_every_end_of_asynchronous_saving(tokenized, small_disk):
    """The writer killed while the rank waits for it. A full disk: see the two ranks."""
    run = copied(tokenized, small_disk)
    training = TrainedRun(run, *OFTEN, FAULTY % ", async-save: true")

    started = training.start(steps=3)
    [writer] = checkpoint_writers(run)
    writer.kill()
    end = started.end(time.monotonic(), status=1)
    assert "rank 0: its asynchronous checkpoint writer" in end.output
    assert "was killed (SIGKILL), probably out of memory" in end.output
