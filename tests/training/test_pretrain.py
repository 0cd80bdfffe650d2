"""Megatron's own loop on CPU ranks with our datasets: parallel, interrupted, stopped early, and counted."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.megatron_ranks import environment
from support.trained_run import BOUND, MARK, processes

from megatron_sbp.checkpoint import tracker
from megatron_sbp.training import consumption
from megatron_sbp.training.data.data_file import DataFile
from megatron_sbp.training.pretrain import UNFINISHED, _hidden, _take_own_device

pytestmark = pytest.mark.timeout(600)


def test_resume_after_sigkill_is_exact_and_every_sample_is_consumed_once(megatron):
    sources = {"real": 60, "synthetic": 20}
    megatron.data("whole", sources)
    megatron.train("whole", 80, "--save-interval", "3")
    folder = megatron.data("killed", sources)
    metrics = folder / "metrics.jsonl"
    variables = {**environment(), MARK: str(folder)}
    process = subprocess.Popen(
        megatron.command("killed", 80, "--save-interval", "3"), env=variables, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while '"iteration": 5' not in (metrics.read_text() if metrics.exists() else ""):
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.monotonic() + BOUND
    while processes(folder):
        assert time.monotonic() < deadline, "a rank or a loader worker outlives torchrun"
        time.sleep(0.05)
    assert not (folder / "stopped.txt").exists()
    megatron.train("killed", 80, "--save-interval", "3")
    assert megatron.losses("killed") == megatron.losses("whole")
    assert megatron.losses("killed", "valid") == megatron.losses("whole", "valid")
    for name in ("whole", "killed"):
        path = megatron.folder / name
        data = DataFile.read(path / "data.json")
        assert consumption.check(path / "consumed", data, 10, 8, complete=True) == sources


@pytest.mark.parametrize(("ranks", "flags"), [(1, ()), (2, ("--use-distributed-optimizer",))])
def test_a_kill_in_the_last_evaluation_costs_that_evaluation(megatron, ranks, flags):
    """A training of 12 steps that is evaluated every 5, with one checkpoint."""
    folder = megatron.data("whole", {"real": 60, "synthetic": 36})
    megatron.train("whole", 96, *flags, ranks=ranks)
    losses, checkpoint = megatron.losses("whole", "valid"), folder / "iter_0000012"
    assert list(losses) == [5, 10, 12]
    rows = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(rows[:-1]))
    (folder / "stopped.txt").unlink()
    before = {path: path.stat().st_mtime_ns for path in checkpoint.iterdir()}
    late = ("--exit-duration-in-mins", "1")  # it does not get through the evaluation either
    megatron.train("whole", 96, *flags, *late, ranks=ranks, began=3600, status=UNFINISHED)
    assert not (folder / "stopped.txt").exists() and list(megatron.losses("whole", "valid")) == [5, 10]
    megatron.train("whole", 96, *flags, ranks=ranks)
    assert megatron.losses("whole", "valid") == losses and len(megatron.losses("whole")) == 12
    assert (folder / "stopped.txt").read_text() == "end of the plan"
    assert {path: path.stat().st_mtime_ns for path in checkpoint.iterdir()} == before
    assert list(tracker.written(folder)) == [12]
    data = DataFile.read(folder / "data.json")
    assert sum(consumption.check(folder / "consumed", data, 12, 8, complete=True).values()) == 96


def test_a_stop_in_the_last_step_leaves_the_last_evaluation_to_the_next_start(megatron):
    """Megatron leaves its loop without the evaluation after it: a signal or a time limit in the last step."""
    folder = megatron.data("stopped", {"real": 56})
    megatron.train("stopped", 56, "--exit-interval", "7", status=UNFINISHED)
    assert tracker.read(folder) == 7 and not (folder / "stopped.txt").exists()
    megatron.train("stopped", 56)
    assert list(megatron.losses("stopped", "valid")) == [5, 7]
    assert (folder / "stopped.txt").read_text() == "end of the plan"


@pytest.mark.parametrize(("devices", "number"), [(8, "3"), (1, "0")])
def test_a_rank_that_sees_one_gpu_takes_it(monkeypatch, devices, number):
    """As with `--gpus-per-task`: Megatron would take the fourth of one for the fourth rank of a node."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)
    monkeypatch.setenv("LOCAL_RANK", "3")
    _take_own_device()
    assert os.environ["LOCAL_RANK"] == number


def test_a_time_limit_in_the_first_evaluation_leaves_it_to_the_next_start(megatron):
    """Without it, the effect of tuning is unknown, and it cannot be added after a step."""
    folder = megatron.data("tuned", {"pairs": 16}, "pairs")
    flags = ["--calculate-per-token-loss", "--sbp-first-evaluation"]
    megatron.train("tuned", 16, *flags, "--exit-duration-in-mins", "1", began=3600, status=UNFINISHED)
    assert tracker.read(folder) is None and not (folder / "stopped.txt").exists()
    megatron.train("tuned", 16, *flags)
    assert list(megatron.losses("tuned", "valid")) == [0, 2]


def test_a_step_that_megatron_runs_again_counts_once(megatron):
    """As it does where a result is in doubt; here with every step after the first."""
    folder = megatron.data("whole", {"real": 40})
    megatron.train("whole", 40)
    again = megatron.data("again", {"real": 40})
    doubts = ("--check-for-large-grads", "--no-check-for-nan-in-loss-and-grad", "--error-injection-rate", "1")
    megatron.train("again", 40, "--rerun-mode", "validate_results", *doubts)
    assert megatron.losses("again") == megatron.losses("whole")
    for path in (folder, again):
        data = DataFile.read(path / "data.json")
        assert consumption.check(path / "consumed", data, 5, 8, complete=True) == {"real": 40}
    rows = [
        [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()] for path in (folder, again)
    ]
    left, right = ([row["train_loss_by_source"] for row in some if row["kind"] == "valid"] for some in rows)
    assert left == right


def ranks_of(torchrun: subprocess.Popen) -> list[psutil.Process]:
    """The rank processes below torchrun, once they listen for signals."""

    def listens(process: psutil.Process) -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
        return bool(caught >> (signal.SIGUSR2 - 1) & 1)

    while True:
        assert torchrun.poll() is None, "the training ended before it could be signalled"
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):  # torchrun has others, that come and go
            children = psutil.Process(torchrun.pid).children()
            ranks = [child for child in children if "pretrain" in " ".join(child.cmdline())]
            if ranks and all(map(listens, ranks)):
                return ranks
        time.sleep(0.05)


@pytest.mark.parametrize(
    "number",
    [  # SIGTERM: tests/slurm/test_training_job.py too
        pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGUSR1, marks=pytest.mark.exhaustive),
        signal.SIGUSR2,
    ],
)
def test_a_signal_leads_to_a_checkpoint_and_the_next_start_resumes(megatron, number):
    """SIGTERM and SIGUSR1 in the middle of the training, SIGUSR2 to the ranks while they are still starting."""
    folder = megatron.data("stopped", {"real": 400})
    process = subprocess.Popen(
        megatron.command("stopped", 400, "--save-interval", "1000"), env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ranks, early = ranks_of(process), number == signal.SIGUSR2
    metrics = folder / "metrics.jsonl"
    while not early and '"iteration": 3' not in (metrics.read_text() if metrics.exists() else ""):
        assert process.poll() is None
        time.sleep(0.05)
    for rank in ranks:
        rank.send_signal(number)
    # Under torchrun a rank ends with 0 here (anything else were a crash to it); 3 without, see test_time_limit.
    assert process.wait(timeout=120) == 0
    saved = tracker.read(folder)
    assert saved == 1 if early else 3 <= saved < 50
    assert not (folder / "stopped.txt").exists()
    megatron.train("stopped", 400, "--save-interval", "1000")
    assert (folder / "stopped.txt").read_text() == "end of the plan"
    assert sorted(megatron.losses("stopped")) == list(range(1, 51))


def test_early_stopping_keeps_its_reason(megatron):
    """A learning rate that ruins the model: the validation loss rises, and tuning stops after `patience`."""
    folder = megatron.data("tuned", {"pairs": 400}, "pairs")
    flags = [
        "--calculate-per-token-loss",
        "--sbp-patience",
        "2",
        "--sbp-first-evaluation",
        "--lr",
        "30",
        "--min-lr",
        "3",
    ]
    megatron.train("tuned", 400, *flags, "--save-interval", "5")
    losses = megatron.losses("tuned", "valid")
    assert 0 in losses and max(losses) < 50
    assert "no better validation loss in 2 evaluations" in (folder / "stopped.txt").read_text()


def test_other_data_is_refused_on_resume(megatron):
    megatron.data("locked", {"real": 80})
    megatron.train("locked", 80, "--exit-interval", "2", "--save-interval", "2", status=3)
    megatron.data("locked", {"real": 60, "synthetic": 20})
    output = megatron.train("locked", 80, status=2)
    assert "sbp: error:" in output and "started with other data" in output and "train was" in output


def test_a_gpu_flag_is_refused_with_the_reason(megatron):
    megatron.data("refused", {"real": 80})
    output = megatron.train("refused", 80, "--context-parallel-size", "2", ranks=2, status=2)
    assert "Transformer Engine" in output


@pytest.mark.parametrize(
    "flags",
    [("--tensor-model-parallel-size", "3"), ("--recompute-granularity", "selective", "--recompute-modules", "all")],
)
def test_arguments_that_megatron_asserts_about_are_invalid_input(megatron, flags):
    megatron.data("asserted", {"real": 80})
    output = megatron.train("asserted", 80, *flags, status=2)
    assert "sbp: error:" in output and "Traceback" not in output


def test_metrics_survive_a_half_written_row(tmp_path):
    from megatron_sbp.training.metrics import Metrics, read_metrics

    metrics = Metrics(tmp_path / "metrics.jsonl")
    for iteration in (1, 2, 3):
        metrics.append({"kind": "train", "iteration": iteration, "loss": 1.0})
    with open(metrics.path, "a") as file:
        file.write(json.dumps({"kind": "train", "iteration": 4})[:-3])
    assert [row["iteration"] for row in read_metrics(metrics.path)] == [1, 2, 3]
    metrics.rewind(2)
    assert [row["iteration"] for row in read_metrics(metrics.path)] == [1, 2]


def test_imports_do_without_a_hidden_package():
    for _ in range(2):  # it is there again afterward
        sys.modules.pop("colorsys", None)
        with _hidden("colorsys"), pytest.raises(ImportError):
            importlib.import_module("colorsys")
        assert importlib.import_module("colorsys")
    with _hidden("colorsys"):
        assert importlib.import_module("colorsys")  # an imported module stays
