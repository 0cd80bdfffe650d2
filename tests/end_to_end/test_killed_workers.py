"""Every stage that processes share: two of them are killed in mid-work and in `finish`, and the bytes stay the same.

What test_chaos.py draws now and then happens here to each of these stages, in copies of a process that has the imports.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from support.undone import outputs, undo
from support.whole_program import RECIPE

from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name

FURTHER = ("filter.max_corpus_copying=0.9", "filter.min_similarity=-0.9")
"""With them the graph has `index-corpus` and `compare`, too."""
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")
"""Audit events before which a worker may be killed; of `open`, those that write."""
LOADED = ("transformers", "sentence_transformers", "scann", "pyarrow.parquet", "numba")
USUAL = [stage.name for stage in all_stages(load_recipe(RECIPE)) if stage.sharded]
SHARDED = [stage.name for stage in all_stages(load_recipe(RECIPE, FURTHER)) if stage.sharded]


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """What stages import, once for all workers."""
    for name in LOADED:
        importlib.import_module(name)


def work(run: Run, name: str, shard: tuple[int, int], log: Path, kill: int | None, finishing: bool) -> None:
    """What a worker does; before its change number `kill` (in `finish`, if `finishing`) it kills itself."""
    sys.stdout = sys.stderr = open(log, "a", buffering=1)  # noqa: SIM115  until this process ends
    graph = all_stages(run.recipe)
    runner = StageRunner(run, by_name(graph, name), graph)
    armed, seen, finish = not finishing, 0, runner._finish

    def count(event: str, about: tuple) -> None:
        nonlocal seen
        if armed and event in CHANGES and (event != "open" or about[2] & (os.O_WRONLY | os.O_RDWR)):
            seen += 1
            if seen == kill:
                os.kill(os.getpid(), signal.SIGKILL)

    def armed_finish(*words) -> None:
        nonlocal armed
        armed = True
        finish(*words)

    runner._finish = armed_finish
    sys.addaudithook(count)
    runner.execute(shard)


def two_workers(run: Run, name: str, log: Path, kills: tuple[int | None, int | None], finishing: bool = False) -> int:
    """Two workers of a stage, until both have ended; gives how many were killed."""
    processes = multiprocessing.get_context("fork")
    workers: list[BaseProcess] = [
        processes.Process(target=work, args=(run, name, (number, 2), log, kill, finishing))
        for number, kill in enumerate(kills, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        worker.kill()
    statuses = [worker.exitcode for worker in workers]
    assert set(statuses) <= {0, -signal.SIGKILL}, f"{statuses}\n{log.read_text()}"
    return statuses.count(-signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SHARDED)
def test_two_workers_killed_in_the_middle_and_in_finish(whole_run, tmp_path, name):
    words = () if name in USUAL else FURTHER
    run = Run.of(load_recipe(RECIPE, [f"run_folder={tmp_path / 'run'}", *words]))
    shutil.copytree(whole_run[0], run.root)
    stage, log = by_name(all_stages(run.recipe), name), tmp_path / "log"
    if name not in USUAL:
        two_workers(run, name, log, (None, None))
    before = outputs(run, stage)
    undo(run, stage)
    draw = random.Random(name)
    killed = [two_workers(run, name, log, (draw.randint(1, 40), draw.randint(1, 40))) for _ in range(2)]
    if (run.manifests / f"{name}.json").exists():  # both workers of a round got to the end
        undo(run, stage)
    finishing = two_workers(run, name, log, (draw.randint(1, 5), draw.randint(1, 5)), finishing=True)
    assert sum(killed) and finishing, (killed, finishing, log.read_text())
    assert not two_workers(run, name, log, (None, None))
    assert outputs(run, stage) == before and before[0]
    left = [path for path in run.root.rglob("*.partial*") if "aside" not in path.parts]
    assert not left and "Traceback" not in log.read_text()
