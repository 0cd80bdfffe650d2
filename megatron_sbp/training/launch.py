"""Starts the ranks of a training, watches them, and says how far they are and how they ended."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.processes import held_port, python_path
from megatron_sbp.base.progress import duration, say
from megatron_sbp.checkpoint.seals import Sealer
from megatron_sbp.executor.slurm import container_options
from megatron_sbp.recipe import Recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.training.cause import RANK_ENDED, first_end, verdict
from megatron_sbp.training.forwarded_signals import ForwardedSignals
from megatron_sbp.training.megatron.rank_end import DONE
from megatron_sbp.training.metrics import read_metrics
from megatron_sbp.training.ranks import Rank, Ranks
from megatron_sbp.training.running import only_training

MODULE = "megatron_sbp.training.pretrain"


class Unfinished(Exception):
    """The training saved a checkpoint and stopped before its end (signal or time limit): start it again to go on."""


def rank_command(arguments: list[str]) -> list[str]:
    """The command of one rank.

    Args:
        arguments: Megatron's flags.
    """
    return [sys.executable, "-m", MODULE, *arguments]


def environment(recipe: Recipe) -> dict[str, str]:
    """Environment variables that all ranks share."""
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


@contextlib.contextmanager
def processes(recipe: Recipe, arguments: list[str], launcher: str) -> Iterator[list[Rank]]:
    """The processes that this one has to start for a training.

    Args:
        recipe: for the number of ranks.
        arguments: Megatron's flags.
        launcher: local (ranks on this machine), or srun (inside a Slurm job: one task per rank).

    Yields:
        One process per rank, or srun alone. They must be started inside the block, which holds their port.

    Raises:
        InputError: an unknown launcher, local for several nodes, or srun without Slurm.
    """
    launch, command, shared = recipe.launch, rank_command(arguments), environment(recipe)
    if launcher == "local":
        if launch.nodes != 1:
            raise InputError(f"local starts one node, not {launch.nodes}; use --launcher srun", key="launch.nodes")
        count = launch.ranks_per_node
        with held_port() as port:
            variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": 0}
            variables |= {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
            yield [
                Rank(
                    f"rank {number}",
                    command,
                    {**shared, **{n: str(v) for n, v in (variables | {"RANK": number, "LOCAL_RANK": number}).items()}},
                )
                for number in range(count)
            ]
    elif launcher == "srun":
        if shutil.which("srun") is None:
            raise InputError("srun is not found: there is no Slurm here", key="--launcher")
        script = Path(__file__).resolve().parents[2] / "slurm" / "rank.sh"
        tasks = ["--nodes", str(launch.nodes), "--ntasks-per-node", str(launch.ranks_per_node), "--kill-on-bad-exit=1"]
        yield [Rank("srun", ["srun", *tasks, *container_options(recipe), "bash", str(script), *command], shared)]
    else:
        raise InputError(f"must be local or srun, not '{launcher}'", key="--launcher")


def train(run: Run, stage: str, training: str, arguments: list[str], samples: int, launcher: str) -> None:
    """Runs a training to its end.

    Args:
        run: the run.
        stage: name of the stage, for log and progress lines.
        training: baseline, synthesizer, sbp or oracle.
        arguments: what `megatron_arguments` gives.
        samples: training sequences planned.
        launcher: local or srun.

    Raises:
        Unfinished: it was stopped by a signal or its time limit, after saving a checkpoint.
        InputError: a rank found wrong input, or another process trains in the same folder.
        OSError: ENOSPC, when the disk is full.
        Fault: a rank crashed or was killed; with the cause and the end of its output.
        KeyboardInterrupt: a second SIGINT.
    """
    folder, log = run.model(training), run.log(stage, "training")
    count = run.recipe.launch.nodes * run.recipe.launch.ranks_per_node
    with contextlib.suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
    with only_training(folder), processes(run.recipe, arguments, launcher) as ranks:
        say(f"{stage}: starting {count} rank(s), log in {log}")
        _note_command(log, ranks[0].command)
        with (
            Sealer(folder),
            Ranks(ranks, log, DONE, announced=RANK_ENDED) as group,
            ForwardedSignals(group, stage, launcher) as signals,
        ):
            progress = Progress(folder / "metrics.jsonl", stage, samples)
            group.wait(lambda: (progress.say(), signals.remind()))
    failed = group.first_failed
    if failed is None and (folder / "stopped.txt").exists():
        return
    if failed is None or (signals.seen and first_end(failed)[1] == -signal.SIGTERM):  # it was not listening yet
        raise Unfinished(f"{stage} was stopped before its end; the same command continues from its last checkpoint")
    raise verdict(failed, stage, folder, log, count)


def _note_command(log: Path, words: list[str]) -> None:
    with contextlib.suppress(OSError), open(log, "a") as file:
        file.write(f"$ {shlex.join(words)}\n")


class Progress:
    """Says every ten seconds how far a training is.

    Args:
        metrics: its metrics.jsonl.
        stage: name of the stage.
        samples: training sequences planned.
    """

    def __init__(self, metrics: Path, stage: str, samples: int, every: float = 10.0):
        self.metrics, self.stage, self.samples, self.every = metrics, stage, samples, every
        self._said, self._seen = time.monotonic(), 0

    def say(self) -> None:
        """One line, when it is time and there is something new."""
        if time.monotonic() - self._said < self.every:
            return
        rows = read_metrics(self.metrics)
        steps = [row for row in rows if row["kind"] == "train"]
        if len(rows) <= self._seen or not steps:
            return
        self._said, self._seen = time.monotonic(), len(rows)
        held_out = [row for row in rows if row["kind"] == "valid"]
        last = steps[-1]
        rate = last["samples"] / last["tokens"] * last["tokens_per_second"]
        text = f"{self.stage}: step {last['iteration']:,}, {last['samples']:,} of {self.samples:,} samples "
        text += f"({100 * last['samples'] / self.samples:.0f} %), loss {last['loss']:.3f}"
        if held_out:
            text += f", held-out {held_out[-1]['loss']:.3f}"
        text += f", {last['tokens_per_second']:,.0f} tokens/s, {duration((self.samples - last['samples']) / rate)} left"
        say(text)
