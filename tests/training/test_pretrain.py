"""Megatron's own loop on CPU ranks with our datasets: parallel, interrupted, stopped early, and counted."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from megatron_ranks import environment

from megatron_sbp.errors import InputError
from megatron_sbp.training import consumption
from megatron_sbp.training.data_file import DataFile

pytestmark = pytest.mark.timeout(600)


def test_resume_after_sigkill_is_exact_and_every_sample_is_consumed_once(megatron):
    sources = {"real": 60, "synthetic": 20}
    megatron.data("whole", sources)
    megatron.train("whole", 80, "--save-interval", "3")
    folder = megatron.data("killed", sources)
    metrics = folder / "metrics.jsonl"
    process = subprocess.Popen(
        megatron.command("killed", 80, "--save-interval", "3"), env=environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while '"iteration": 5' not in (metrics.read_text() if metrics.exists() else ""):
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (folder / "stopped.txt").exists()
    megatron.train("killed", 80, "--save-interval", "3")
    assert megatron.losses("killed") == megatron.losses("whole")
    assert megatron.losses("killed", "valid") == megatron.losses("whole", "valid")
    for name in ("whole", "killed"):
        path = megatron.folder / name
        data = DataFile.read(path / "data.json")
        assert consumption.check(path / "consumed", data, 10, 8, complete=True) == sources


def test_sigterm_saves_a_checkpoint_and_the_next_start_goes_on(megatron):
    folder = megatron.data("stopped", {"real": 400})
    process = subprocess.Popen(
        megatron.command("stopped", 400, "--save-interval", "1000"), env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    metrics = folder / "metrics.jsonl"
    while '"iteration": 3' not in (metrics.read_text() if metrics.exists() else ""):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    saved = int((folder / "latest_checkpointed_iteration.txt").read_text())
    assert 3 <= saved < 50 and not (folder / "stopped.txt").exists()
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
    megatron.train("locked", 80, "--exit-interval", "2", "--save-interval", "2")
    megatron.data("locked", {"real": 60, "synthetic": 20})
    output = megatron.train("locked", 80, status=1)
    assert "sbp: error:" in output and "began with other data" in output and "train was" in output


def test_a_gpu_flag_is_refused_with_the_reason(megatron):
    megatron.data("refused", {"real": 80})
    output = megatron.train("refused", 80, "--context-parallel-size", "2", ranks=2, status=1)
    assert "Transformer Engine" in output


def test_consumption_names_what_is_wrong(megatron, tmp_path):
    folder = megatron.data("counted", {"real": 6, "synthetic": 2})
    data = DataFile.read(folder / "data.json")
    sources, samples = np.array([0, 0, 1, 0]), np.array([0, 1, 0, 2])

    def record(*steps) -> None:
        shutil.rmtree(folder / "consumed", ignore_errors=True)
        recorder = consumption.Recorder(folder / "consumed", 0)
        for iteration, (source, sample) in enumerate(steps):
            recorder.record(iteration, np.array(source), np.array(sample))

    record((sources, samples), ([0, 0, 1, 0], [3, 4, 1, 5]))
    assert consumption.check(folder / "consumed", data, 2, 4, True) == {"real": 6, "synthetic": 2}
    record((sources, samples), ([0, 0, 1, 0], [3, 3, 1, 5]))
    with pytest.raises(InputError, match="'real': sample 3 was consumed twice"):
        consumption.check(folder / "consumed", data, 2, 4, True)
    record((sources, samples), ([0, 0, 0, 0], [3, 4, 5, 6]))
    with pytest.raises(InputError, match="'real': 7 samples were consumed, planned were 6"):
        consumption.check(folder / "consumed", data, 2, 4, True)
    record((sources, samples))
    with pytest.raises(InputError, match="4 samples in 1 steps were consumed, planned were 2 steps of 4"):
        consumption.check(folder / "consumed", data, 2, 4, True)


def test_megatron_still_has_every_name_that_is_replaced():
    import importlib
    import inspect

    from megatron_sbp.training.cpu import MEGATRON_NAMES

    for module, name in MEGATRON_NAMES:
        assert hasattr(importlib.import_module(module), name), (
            f"{module}.{name} is gone: see megatron_sbp/training/cpu.py"
        )
    training = importlib.import_module("megatron.training.training")
    parameters = list(inspect.signature(training.training_log).parameters)
    assert parameters[:4] == ["loss_dict", "total_loss_dict", "learning_rate", "iteration"]
    assert parameters[4:8] == ["loss_scale", "report_memory_flag", "skipped_iter", "grad_norm"]
    names = list(inspect.signature(training.train).parameters)
    assert [names[place] for place in (0, 1, 5, 7)] == ["forward_step_func", "model", "valid_data_iterator", "config"]
    assert {"train_step", "evaluate", "evaluate_and_print_results"} <= vars(training).keys()


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
