"""`sbp run`: every stage in order on this machine, each in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

from megatron_sbp.base.device import gpus, share_of_gpus
from megatron_sbp.base.errors import Fault
from megatron_sbp.base.processes import die_with_parent, python_path
from megatron_sbp.base.progress import duration, say
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage
from megatron_sbp.training.megatron.rank_end import ending


class StageFailed(Exception):
    """A stage's process ended with a status other than 0; unless it was killed, it has said why.

    Args:
        stage: name of the stage.
        status: exit status as of Popen.returncode.
        worker: which of several workers of the stage it was, from 1; None for the only one.
    """

    def __init__(self, stage: str, status: int, worker: int | None = None):
        super().__init__(f"{stage}{f', worker {worker},' if worker else ''} {ending(status)}")
        self.status = status


def run_all(
    run: Run,
    graph: list[Stage],
    recipe_words: list[str],
    until: str | None = None,
    discard: Sequence[str] = (),
    repair: Sequence[str] = (),
) -> None:
    """Runs what is missing of all stages, in order; a stage may find that an earlier one has more to do.

    Each stage runs as `sbp STAGE RECIPE --shard i/n` in n = launch.workers processes when it can be shared, else in
    one: the same commands that a Slurm array runs. They are killed together with this process.

    Args:
        run: the run.
        graph: all stages.
        recipe_words: recipe path and overrides, as words of the command line.
        until: the last stage to run; None runs all.
        discard: stages whose costly outputs may be replaced; `all` means every stage.
        repair: stages that may go back to what is intact of damaged outputs.

    Raises:
        StageFailed: a stage failed; finished work stays.
        Fault: a stage's processes ended well, but it is not finished.
        InputError: costly work would be discarded, or is damaged, and nobody asked for that.
    """
    began, place = time.monotonic(), 0
    while place < len(graph):
        stage = graph[place]
        label = f"[{place + 1}/{len(graph)}] {stage.name}"
        allowed = [
            option
            for option, names in (("--discard", discard), ("--repair", repair))
            if stage.name in names or "all" in names
        ]
        runner = StageRunner(run, stage, graph, "--discard" in allowed, "--repair" in allowed)
        if runner.finished():
            say(f"{label}: already complete")
        else:
            runner.check()
            units = stage.units(run)
            missing = runner.missing_units()
            note = f", {len(missing)} of {len(units)} shards to do" if stage.sharded and len(units) > 1 else ""
            say(f"{label}: {stage.title}{note}")
            workers = min(run.recipe.launch.workers, max(1, len(missing))) if stage.sharded else 1
            started = time.monotonic()
            _work(run, stage, [*recipe_words, *(word for option in allowed for word in (option, stage.name))], workers)
            if not runner.finished():
                raise Fault(
                    f"the processes of {stage.name} ended with status 0, but it is not finished: {runner.why()}"
                )
            say(f"{label}: done in {duration(time.monotonic() - started)}")
        reopened = stage.reopens(run)
        if reopened is not None:
            place = next(number for number, each in enumerate(graph) if each.name == reopened)
            continue
        if stage.name == until:
            return
        place += 1
    say(f"all {len(graph)} stages finished, {duration(time.monotonic() - began)} for this call")


def _work(run: Run, stage: Stage, recipe_words: list[str], workers: int) -> None:
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        **os.environ,
        "PYTHONPATH": python_path(),
    }
    # Else every worker would take the first GPU.
    found = gpus(os.environ) if stage.device_for(run) == "gpu" and run.recipe.launch.device != "cpu" else []

    def of_worker(index: int) -> dict[str, str]:
        mine = share_of_gpus(found, index - 1, workers)
        return {**environment, "CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine and workers > 1 else environment

    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "megatron_sbp", stage.name, *recipe_words),
                *("--shard", f"{index}/{workers}", "--part-of-run"),
            ],
            env=of_worker(index),
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
        for index in range(1, workers + 1)
    ]
    handlers = {
        number: signal.signal(number, _forward(processes))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup
    }
    try:
        statuses = [process.wait() for process in processes]
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for process in processes:
            if process.poll() is None:
                process.kill()
    # A killed worker is the cause of what others say.
    for status, worker in sorted(zip(statuses, range(1, workers + 1), strict=True)):
        if status:
            raise StageFailed(stage.name, status, worker if workers > 1 else None)


def _forward(processes: list[subprocess.Popen]):
    def forward(number, frame):
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    return forward
