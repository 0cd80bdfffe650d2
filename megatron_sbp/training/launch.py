"""Starts the ranks of a training run, monitors them, and reports their progress and how they ended."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.processes import held_port, module_words, path_elsewhere, python_path, with_path
from megatron_sbp.base.progress import duration, say
from megatron_sbp.base.stop_file import StopFile
from megatron_sbp.checkpoint.model_folder import METRICS, STOPPED
from megatron_sbp.checkpoint.seals import Sealer
from megatron_sbp.recipe import Launch
from megatron_sbp.training.cause import NOTABLE, RANK_ENDED, verdict, was_stopped
from megatron_sbp.training.forwarded_signals import ForwardedSignals
from megatron_sbp.training.megatron.rank_end import DONE
from megatron_sbp.training.metrics import last_train_row, read_metrics
from megatron_sbp.training.ranks import Rank, Ranks
from megatron_sbp.training.retention import remove_unneeded
from megatron_sbp.training.running import only_training
from megatron_sbp.training.save_request import SaveRequest

MODULE = "megatron_sbp.training.pretrain"


class Unfinished(Exception):
    """The training run saved a checkpoint and stopped early (signal or time limit); the next start resumes there."""


def rank_command(launch: Launch, arguments: list[str]) -> list[str]:
    """The command of one rank.

    Args:
        launch: for the device of the ranks.
        arguments: Megatron's flags.
    """
    return [*module_words(MODULE), "--sbp-die-with-parent", "--sbp-device", launch.device, *arguments]


def environment(launch: Launch) -> dict[str, str]:
    """Environment variables that all ranks share."""
    variables = {
        "OMP_NUM_THREADS": str(launch.threads_per_rank),
        # What Megatron requires for most layouts up to Hopper; FSDP refuses it, and later GPUs do not need it.
        "CUDA_DEVICE_MAX_CONNECTIONS": os.environ.get("CUDA_DEVICE_MAX_CONNECTIONS", "1"),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
        "WANDB_MODE": os.environ.get("WANDB_MODE", "offline"),
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "GLOG_minloglevel": "2",
    }
    variables["PYTHONPATH"] = python_path()
    return {**os.environ, **variables}


@contextlib.contextmanager
def processes(launch: Launch, arguments: list[str], srun: Sequence[str] | None = None) -> Iterator[list[Rank]]:
    """The processes that this one has to start for a training run.

    Args:
        launch: for the number of ranks and their device.
        arguments: Megatron's flags.
        srun: the words that make Slurm start all ranks, inside a job; the last one is the interpreter of the ranks,
            which in a container is not that of this process. None starts the ranks on this machine.

    Yields:
        One process per rank, or srun alone. They must be started inside the block, which reserves their port.

    Raises:
        InputError: several nodes without srun, or srun without Slurm.
    """
    command, shared = rank_command(launch, arguments), environment(launch)
    if srun is not None:
        if shutil.which(srun[0]) is None:
            raise InputError(f"{srun[0]} is not found: there is no Slurm here", key="--launcher")
        if srun[-1] != sys.executable:
            shared = with_path(shared, path_elsewhere())
        yield [Rank("srun", [*srun, *command[1:]], shared)]
        return
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


def train(
    arguments: list[str],
    *,
    launch: Launch,
    folder: Path,
    samples: int,
    stage: str,
    log: Path,
    srun: Sequence[str] | None = None,
    stop: Path | None = None,
    save: Path | None = None,
    keep_all: bool = True,
) -> None:
    """Runs a training run to its end.

    Args:
        arguments: Megatron's flags, as `megatron_arguments` gives them.
        launch: number of ranks and their device.
        folder: the training run's folder.
        samples: training sequences planned.
        stage: name of the stage, for progress lines.
        log: file that the output of all ranks is appended to.
        srun: as for `processes`.
        stop: a file whose appearance requests a checkpoint and the end.
        save: a file that requests a checkpoint whenever it is touched; the ranks look for it themselves.
        keep_all: whether all checkpoints stay until the end; otherwise `retention.remove_unneeded` removes some.

    Raises:
        Unfinished: it was stopped by a signal, the file, or its time limit, after saving a checkpoint; or its job was
            canceled or preempted before it could save one.
        InputError: a rank found wrong input, or another process trains in the same folder.
        OSError: ENOSPC, EDQUOT or EFBIG, when there is no room to write.
        Fault: a rank crashed or was killed; with the cause and the end of its output.
        KeyboardInterrupt: a second SIGINT or SIGTERM; see `ForwardedSignals`.
    """
    count = launch.nodes * launch.ranks_per_node
    with contextlib.suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
    with only_training(folder), processes(launch, arguments, srun) as ranks:
        say(f"{stage}: starting {count} rank(s), log in {log}")
        _note_command(log, ranks[0].command)
        with (
            Sealer(folder, then=lambda: None if keep_all else remove_unneeded(folder)),
            Ranks(ranks, log, DONE, announced=RANK_ENDED, notable=NOTABLE) as group,
            ForwardedSignals(group, stage, under_slurm=srun is not None) as signals,
        ):
            progress = Progress(folder / METRICS, stage, samples)
            stop_file = None if stop is None else StopFile(stop)
            save_request = SaveRequest(save)

            def tell() -> None:
                progress.say()
                if save_request.is_new():
                    say(f"{stage}: {save} was touched: a checkpoint at the next logged step")
                if stop_file is not None and stop_file.there():
                    signals.request(f"{stop_file.file} exists")
                signals.remind()

            group.wait(tell)
    failed = group.first_failed
    if failed is None and (folder / STOPPED).exists():
        return
    if failed is None or (signals.seen and was_stopped(failed)):
        raise Unfinished(f"{stage} was stopped early; the same command continues from its last checkpoint")
    raise verdict(failed, stage, folder, log, count)


def _note_command(log: Path, words: list[str]) -> None:
    with contextlib.suppress(OSError), open(log, "a") as file:
        file.write(f"$ {shlex.join(words)}\n")


class Progress:
    """Reports the progress of a training run every ten seconds.

    Args:
        metrics: its metrics.jsonl.
        stage: name of the stage.
        samples: training sequences planned.
    """

    def __init__(self, metrics: Path, stage: str, samples: int, every: float = 10.0):
        self.metrics, self.stage, self.samples, self.every = metrics, stage, samples, every
        self._said, self._seen = time.monotonic(), (0, 0)
        self._bytes = 0

    def say(self) -> None:
        """One line, when it is time and there is something new."""
        if time.monotonic() - self._said < self.every:
            return
        size = self.metrics.stat().st_size if self.metrics.exists() else 0
        if size == self._bytes:
            return
        self._bytes = size
        last, held_out = last_train_row(self.metrics), read_metrics(self.metrics, "valid")
        if last is None or self._seen == (last["iteration"], len(held_out)):
            return
        self._said, self._seen = time.monotonic(), (last["iteration"], len(held_out))
        rate = last["samples"] / last["tokens"] * last["tokens_per_second"]
        text = f"{self.stage}: step {last['iteration']:,}, {last['samples']:,} of {self.samples:,} samples "
        text += f"({100 * last['samples'] / self.samples:.0f} %), loss {last['loss']:.3f}"
        if held_out:
            text += f", held-out {held_out[-1]['loss']:.3f}"
        text += f", {last['tokens_per_second']:,.0f} tokens/s, {duration((self.samples - last['samples']) / rate)} left"
        say(text)
