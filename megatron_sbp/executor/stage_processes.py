"""The processes of one stage on this machine: `sbp STAGE RECIPE --shard i/n`, as the tasks of a Slurm array."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import partial

from megatron_sbp.base.device import gpus, share_of_gpus
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.processes import die_with_parent, module_words, python_path
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage
from megatron_sbp.training.megatron.rank_processes import ending


class StageFailed(Exception):
    """A stage's process ended with a status other than 0; unless it was killed, it said why.

    Args:
        stage: name of the stage.
        status: exit status, as in Popen.returncode.
        worker: which of several workers of the stage it was, from 1; None for the only one.
    """

    def __init__(self, stage: str, status: int, worker: int | None = None):
        super().__init__(f"{stage}{f', worker {worker},' if worker else ''} {ending(status)}")
        self.status = status


@dataclass(frozen=True)
class Place:
    """Which of several stages that run side by side this one is.

    Attributes:
        slot: from 0.
        slots: how many there are.
    """

    slot: int = 0
    slots: int = 1


ALONE = Place()


class StageProcesses:
    """Starts the processes of a stage; they are killed together with this process.

    Args:
        run: the run.
        stage: the stage.
        words: recipe path, overrides and options, as words of the command line.
        workers: how many processes share the stage's units.
        place: with others beside it, a stage uses its share of the machine's cores and GPUs.

    Raises:
        InputError: its share of the GPUs is too small for the ranks of a training run, or for vLLM.
    """

    def __init__(self, run: Run, stage: Stage, words: list[str], workers: int, place: Place = ALONE):
        self.stage = stage
        environments = _environments(run, stage, workers, place)
        self._processes = [
            subprocess.Popen(
                [
                    *(*module_words("megatron_sbp"), stage.name, *words),
                    *("--shard", f"{index}/{workers}", "--part-of-run"),
                ],
                env=environment,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
            for index, environment in enumerate(environments, 1)
        ]

    def ended(self) -> bool:
        """Whether all of them have ended."""
        return all(process.poll() is not None for process in self._processes)

    def check(self) -> None:
        """Raises StageFailed when one of them failed."""
        statuses = [process.returncode for process in self._processes]
        # A killed worker is the cause of the others' errors.
        for status, worker in sorted(zip(statuses, range(1, len(statuses) + 1), strict=True)):
            if status:
                raise StageFailed(self.stage.name, status, worker if len(statuses) > 1 else None)

    def send(self, number: int) -> None:
        """Passes a signal on to those that are running."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)

    def kill(self) -> None:
        """Kills those that are running."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()


def _environments(run: Run, stage: Stage, workers: int, place: Place) -> list[dict[str, str]]:
    """The environment of each worker."""
    threads = max(1, len(os.sched_getaffinity(0)) // (workers * place.slots))
    common = {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONPATH": python_path()}
    kind, launch = stage.device_for(run), run.recipe.launch
    found = gpus(os.environ) if kind in ("gpu", "training") and launch.device != "cpu" else []
    if place.slots > 1 and found:
        mine = share_of_gpus(found, place.slot, place.slots)
        if kind == "training" and launch.ranks_per_node > len(mine):
            raise InputError(
                f"{launch.ranks_per_node} ranks of {stage.name} need a GPU each, but --jobs {place.slots} leaves "
                f"{len(mine)} of {len(found)} for a stage",
                key="launch.ranks_per_node",
            )
        found = mine
        common["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
    if kind != "gpu" or workers == 1:
        return [common] * workers
    # Otherwise every worker would take the first GPU.
    shares = [share_of_gpus(found, index, workers) for index in range(workers)]
    wanted = stage.gpus(run)
    if found and wanted > min(map(len, shares)):
        raise InputError(
            f"{wanted} GPUs share the weights in every process of {stage.name}, but launch.workers {workers} leaves "
            f"{min(map(len, shares))} of {len(found)} for one of them",
            key="synthesis.vllm.tensor_parallel",
        )
    return [{**common, "CUDA_VISIBLE_DEVICES": ",".join(share)} if share else common for share in shares]
