"""Starts the ranks of a training, watches them, and says how far they are."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from megatron_sbp.errors import InputError
from megatron_sbp.processes import die_with_parent, python_path
from megatron_sbp.progress import duration, say
from megatron_sbp.recipe import Recipe
from megatron_sbp.run_folder import Run
from megatron_sbp.slurm import container_options
from megatron_sbp.training.metrics import read_metrics
from megatron_sbp.training.stop_signals import ASKING

MODULE = "megatron_sbp.training.pretrain"


class Unfinished(Exception):
    """The training saved a checkpoint and stopped before its end (signal or time limit): start it again to go on."""


def command(recipe: Recipe, arguments: list[str], launcher: str) -> list[str]:
    """The command that starts all ranks.

    Args:
        recipe: for the number of ranks.
        arguments: Megatron's flags.
        launcher: torchrun (ranks on this machine), or srun (inside a Slurm job: one task per rank).

    Raises:
        InputError: an unknown launcher, or torchrun for several nodes.
    """
    launch = recipe.launch
    if launcher == "torchrun":
        if launch.nodes != 1:
            raise InputError(f"torchrun starts one node, not {launch.nodes}; use --launcher srun", key="launch.nodes")
        start = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--standalone"]
        return [*start, "--nproc-per-node", str(launch.ranks_per_node), "-m", MODULE, *arguments]
    if launcher == "srun":
        script = Path(__file__).resolve().parents[2] / "slurm" / "rank.sh"
        tasks = ["--nodes", str(launch.nodes), "--ntasks-per-node", str(launch.ranks_per_node), "--kill-on-bad-exit=1"]
        return [
            "srun",
            *tasks,
            *container_options(recipe),
            "bash",
            str(script),
            sys.executable,
            "-m",
            MODULE,
            *arguments,
        ]
    raise InputError(f"must be torchrun or srun, not '{launcher}'", key="--launcher")


def environment(recipe: Recipe) -> dict[str, str]:
    """Environment variables of every rank."""
    variables = {
        "OMP_NUM_THREADS": str(recipe.launch.threads_per_rank),
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "SBP_DIE_WITH_PARENT": "1",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "GLOG_minloglevel": "2",
    }
    if recipe.launch.device == "cpu":
        variables["SBP_DEVICE"] = "cpu"
    variables["PYTHONPATH"] = python_path()
    return {**os.environ, **variables}


def train(run: Run, stage: str, training: str, arguments: list[str], samples: int, launcher: str) -> None:
    """Runs a training to its end.

    Args:
        run: the run.
        stage: name of the stage, for log and progress lines.
        training: baseline, synthesizer, sbp or oracle.
        arguments: what `megatron_arguments` gives.
        samples: training sequences planned.
        launcher: torchrun or srun.

    Raises:
        Unfinished: it was stopped by a signal or its time limit, after saving a checkpoint.
        InputError: it failed; with the message of the rank that knew why, or the end of the log.
    """
    words = command(run.recipe, arguments, launcher)
    log = run.log(stage, "training")
    log.parent.mkdir(parents=True, exist_ok=True)
    say(f"{stage}: starting {run.recipe.launch.nodes * run.recipe.launch.ranks_per_node} rank(s), log in {log}")
    with open(log, "ab") as output:
        begin = output.tell()
        output.write(f"$ {shlex.join(words)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT, env=environment(run.recipe), preexec_fn=die_with_parent
        )
        with ForwardedSignals(process, launcher) as signals:
            _watch(process, run.model(training) / "metrics.jsonl", stage, samples)
    stopped = (run.model(training) / "stopped.txt").exists()
    if process.returncode == 0 and stopped:
        return
    if process.returncode in (0, 3) or signals.seen:
        raise Unfinished(f"{stage} was stopped before its end; the same command goes on from its last checkpoint")
    raise InputError(_reason(log, begin, process.returncode), file=log)


class ForwardedSignals:
    """Passes on the signals that ask for a checkpoint to the ranks, while a training runs.

    Under torchrun to the ranks themselves: it would answer a SIGTERM of its own by killing them after 30 seconds, in
    the middle of a large checkpoint. srun kills its tasks at once; there Slurm signals them (slurm/training.sbatch asks
    it to), so there is nothing to pass on, only to outlive.
    """

    def __init__(self, process: subprocess.Popen, launcher: str):
        self.process, self.launcher = process, launcher
        self.seen = False
        """Whether a signal has arrived."""

    def __enter__(self) -> ForwardedSignals:
        self._former = {number: signal.signal(number, self._forward) for number in ASKING}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _forward(self, number: int, frame: object) -> None:
        self.seen = True
        if self.launcher == "srun":
            return
        ranks = []
        with contextlib.suppress(psutil.Error):
            ranks = [child for child in psutil.Process(self.process.pid).children() if MODULE in child.cmdline()]
        for rank in ranks:
            with contextlib.suppress(psutil.Error):
                rank.send_signal(signal.SIGTERM)
        if not ranks:  # torchrun has not started them yet, so nothing is lost
            self.process.send_signal(signal.SIGTERM)


def _watch(process: subprocess.Popen, metrics: Path, stage: str, samples: int) -> None:
    said, seen, every = time.monotonic(), 0, 10.0
    while True:
        try:
            process.wait(timeout=1.0)
            return
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() - said < every:
            continue
        rows = read_metrics(metrics)
        if len(rows) <= seen:
            continue
        said, seen = time.monotonic(), len(rows)
        steps = [row for row in rows if row["kind"] == "train"]
        held_out = [row for row in rows if row["kind"] == "valid"]
        if not steps:
            continue
        last = steps[-1]
        rate = last["samples"] / last["tokens"] * last["tokens_per_second"]
        text = f"{stage}: step {last['iteration']:,}, {last['samples']:,} of {samples:,} samples "
        text += f"({100 * last['samples'] / samples:.0f} %), loss {last['loss']:.3f}"
        if held_out:
            text += f", held-out {held_out[-1]['loss']:.3f}"
        text += f", {last['tokens_per_second']:,.0f} tokens/s, {duration((samples - last['samples']) / rate)} left"
        say(text)


def _reason(log: Path, begin: int, status: int) -> str:
    with open(log, "rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    for line in lines:
        if line.startswith("sbp: error: "):
            return line.removeprefix("sbp: error: ")
    causes = [line for line in lines if "Error" in line and "ChildFailedError" not in line]
    tail = causes[-1:] or lines[-5:]
    return f"the training ended with status {status}: " + " | ".join(line.strip() for line in tail)
