"""Arrays of data stages on a real Slurm: a task killed for memory, one canceled, a node set down, a preemption."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import held_sbp
from support.array_copies import until_neighbors, until_synthesis
from support.mined_run import execute, foldoc_recipe
from support.slurm_array import Array, Holds
from support.slurm_cluster import closed
from support.trained_run import MARK, processes
from support.whole_program import RECIPE, ROOT, digests, run_sbp

from megatron_sbp.base import files
from megatron_sbp.base.locks import locked
from megatron_sbp.cli import main
from megatron_sbp.executor import slurm, slurm_queue
from megatron_sbp.executor.claim import claim
from megatron_sbp.recipe import Neighbors, load_recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

FILES = 4
"""Of the corpus: units of `documents`, and tasks of its array. Each of the other stages here has four units, too."""

HELD = shlex.join([sys.executable, held_sbp.__file__])
"""Runs `sbp` in jobs whose tasks wait where they are told to."""

WORDS = (
    "documents.train=80", "documents.oracle=40", "documents.valid=20", "documents.test=20",
    "documents.documents_per_shard=30", "slurm.partition=gpu", "slurm.cpu_partition=cpu", "slurm.gpus_per_node=8",
    "slurm.cpus_per_task=1", f"slurm.array_size={FILES}", "launch.device=auto",
)  # fmt: skip


def corpus(folder: Path) -> str:
    """Makes it, and gives the word of the command line that names it."""
    rows = list(files.read_jsonl_zst(ROOT / "examples" / "quickstart" / "foldoc.jsonl.zst"))[: 60 * FILES]
    for number in range(FILES):
        files.write_jsonl_zst(folder / f"{number}.jsonl.zst", rows[number::FILES])
    return f"documents.inputs=[{folder}/*.jsonl.zst]"


def test_an_array_survives_what_happens_to_its_tasks(slurm, tmp_path, monkeypatch):
    words = [corpus(tmp_path), *WORDS]
    run_sbp("run", RECIPE, f"run_folder={tmp_path}/undisturbed", *words, "--until", "tokenize")
    run = Run.of(load_recipe(RECIPE, [f"run_folder={tmp_path}/run", *words]))
    array = Array(run, "documents")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(MARK, str(run.root))

    def submit() -> None:
        assert main(["submit", str(RECIPE), f"run_folder={run.root}", *words]) == 0

    def unit_held(number: int):
        """While a unit is held, as by another process, its task waits in mid-stage."""
        return locked(run.root / "stages" / "documents" / f".{number:05d}.lock", "test")

    def process(task: int) -> psutil.Process | None:
        def is_task(process: psutil.Process) -> bool:
            ours = process.cmdline()[1:5] == ["-P", "-m", "megatron_sbp", "documents"]
            return ours and process.environ()["SLURM_ARRAY_TASK_ID"] == str(task)

        return next(iter(processes(run.root, is_task)), None)

    claim(run)  # else it would not be one to `submit`, with the locks in it
    with closed("gpu"):  # nothing after `tokenize` starts
        with contextlib.ExitStack() as held:
            for number in range(1, FILES):
                held.enter_context(unit_held(number))
            submit()
            array.until(lambda: all(process(task) for task in range(2, FILES + 1)), "the start")
            array.until_state(1, "COMPLETED")
            array.disturb(process(4))
        array.end_of_the_disturbed()
        array.until(lambda: not slurm_queue.live_jobs(run), "the end of what depends on it")

        with unit_held(1):
            submit()
            array.until(lambda: process(2) is not None, "the start of the missing task")
            assert list(array.states()) == [2], "only the task whose unit is missing"
            array.preempt(2)
        array.start_again(2)
        while not (run.manifests / "tokenize.json").exists():
            states = {job.stage: job.state for job in slurm_queue.jobs_of(run)}
            ours = [states[name] for name in ("documents", "tokenizer", "tokenize")]
            assert not any("FAILED" in state or "CANCELLED" in state for state in ours), states
            time.sleep(0.3)
        slurm_queue.cancel(run)
    patterns = ("documents/**/*.zst", "tokenizer/*", "tokens/*.bin", "tokens/*.idx")
    found, undisturbed = digests(run.root, patterns), digests(tmp_path / "undisturbed", patterns)
    assert found == undisturbed and len(found) > 10


def disturb_in_the_middle(run: Run, graph: list[Stage], holds: Holds) -> None:
    """Does the same to the array of the last stage of a graph, each time in the middle of a unit, until it is through;
    and cuts a file of one finished unit, and removes one of another, before the second submission.

    Args:
        run: with everything finished that the stage reads.
        graph: the stage and those that it reads from.
        holds: where its tasks wait.
    """
    array = Array(run, graph[-1].name)
    with holds(*range(2, FILES + 1)):
        slurm.submit(run, run.recipe.source, [], graph, command=HELD)
        array.until(lambda: all(holds.process(task) for task in range(2, FILES + 1)), "the middle of the units")
        array.until_state(1, "COMPLETED")
        array.disturb(holds.process(4))
    array.end_of_the_disturbed()
    cut, gone = (output_of(run, graph[-1], task) for task in (1, 3))
    os.truncate(cut, cut.stat().st_size // 2)
    gone.unlink()
    with holds(2):
        slurm.submit(run, run.recipe.source, [], graph, command=HELD)
        array.until(lambda: holds.process(2) is not None, "the middle of the missing unit")
        assert sorted(array.states()) == [1, 2, 3], "only tasks whose units are missing or damaged"
        array.until_state(1, "COMPLETED")
        array.until_state(3, "COMPLETED")
        array.preempt(2)
    array.start_again(2)
    array.until(lambda: set(array.states().values()) == {"COMPLETED"}, "the end")
    assert (run.manifests / f"{array.stage}.json").exists()
    [log] = (run.root / "logs" / "slurm").glob(f"*-{array.id}_1.out")
    assert f"{run.relative(cut)} was changed since; it is kept as aside/" in log.read_text()


def output_of(run: Run, stage: Stage, task: int) -> Path:
    """A file that a task has finished."""
    unit = files.read_json(run.manifests / stage.name / f"{stage.units(run)[task - 1]}.json")
    return run.root / min(unit["outputs"])


@pytest.fixture
def holds(slurm, tmp_path, monkeypatch):
    """Makes what says where tasks wait, and lets the jobs run `sbp` that does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(MARK, str(tmp_path / "run"))
    monkeypatch.setenv(held_sbp.HOLDS, str(tmp_path / "holds"))
    return lambda where: Holds(tmp_path / "holds", where)


def below(folder: Path, *patterns: str) -> dict[str, str]:
    found = digests(folder, patterns)
    assert len(found) >= FILES, found
    return found


WRITTEN = {
    "synthesize": r"/synthetic/generations/\.\d+.*\.unfinished$",  # after the first of three batches
    "filter": r"/synthetic/\.\d+.*\.partial",
    "neighbors": r"/neighbors/(train|valid)/\..*\.partial",
}
"""What a task has flushed in the middle of a unit."""


def assert_neighbors_as(undisturbed: Run, run: Run) -> None:
    patterns = ("neighbors/*/*.npz", "neighbors/audit.json")
    assert below(run.root, *patterns) == below(undisturbed.root, *patterns)


def two_in_the_middle(run: Run, graph: list[Stage], holds: Holds) -> Array:
    """Submits the last stage of a graph as an array of two tasks, and waits until both are in the middle of a unit."""
    array = Array(run, graph[-1].name)
    slurm.submit(run, run.recipe.source, [], graph, command=HELD)
    array.until(lambda: holds.process(1) is not None and holds.process(2) is not None, "the middle of the units")
    assert array.states() == {1: "RUNNING", 2: "RUNNING"}
    return array


def test_generations_are_the_same_after_a_kill_and_a_preemption(synthesized, holds, tmp_path):
    run, graph = until_synthesis("synthesize", synthesized, tmp_path, tasks=2)
    waits = holds(WRITTEN["synthesize"])
    with waits(1, 2):
        array = two_in_the_middle(run, graph, waits)
        array.kill(2, waits.process(2))
        array.preempt(1)
    array.start_again(1, 2)
    array.until(lambda: array.states() == {1: "COMPLETED", 2: "COMPLETED"}, "the end")
    assert below(run.root, "synthetic/generations/*") == below(synthesized / "run", "synthetic/generations/*")


def test_neighbors_are_the_same_after_scancel_and_the_loss_of_a_node(mined, holds, tmp_path):
    run, graph = until_neighbors(mined.recipe.neighbors, mined, tmp_path, tasks=2)
    waits = holds(WRITTEN["neighbors"])
    with waits(1, 2):
        array = two_in_the_middle(run, graph, waits)
        array.cancel(2)
        array.set_node_down(1)
    array.start_again(1)
    array.until(lambda: array.states() == {1: "COMPLETED", 2: "CANCELLED"}, "the end of the other")
    slurm.submit(run, run.recipe.source, [], graph, command=HELD)
    assert list(array.states()) == [2], "only the task whose units are missing"
    array.until_state(2, "COMPLETED")
    assert_neighbors_as(mined, run)


@pytest.mark.parametrize("name", ["filter", pytest.param("synthesize", marks=pytest.mark.exhaustive)])
def test_synthetic_text_is_the_same_after_what_happens_in_the_middle_of_units(name, synthesized, holds, tmp_path):
    run, graph = until_synthesis(name, synthesized, tmp_path, FILES)
    disturb_in_the_middle(run, graph, holds(WRITTEN[name]))
    patterns = ["synthetic/*.zst", "synthetic/audit.json"] if name == "filter" else ["synthetic/generations/*"]
    assert below(run.root, *patterns) == below(synthesized / "run", *patterns)


@pytest.mark.exhaustive
@pytest.mark.parametrize("engine", ["scann", "exact"])
def test_neighbors_are_the_same_after_what_happens_in_the_middle_of_units(engine, mined, holds, tmp_path):
    undisturbed = mined
    chosen = Neighbors(k=20, recall_sample=50, engine=engine)
    if engine == "exact":
        undisturbed = Run.of(foldoc_recipe(tmp_path / "undisturbed", neighbors=chosen))
        shutil.copytree(mined.root, undisturbed.root)
        execute(undisturbed, "neighbors")
    run, graph = until_neighbors(chosen, mined, tmp_path, FILES)
    disturb_in_the_middle(run, graph, holds(WRITTEN["neighbors"]))
    assert_neighbors_as(undisturbed, run)
