"""Recipes of examples/ rehearsed through a real Slurm with fake GPUs: what every job asks for, and the whole way."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from support.slurm_cluster import closed

from megatron_sbp.base import files
from megatron_sbp.cli import main
from megatron_sbp.executor import slurm_queue
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.yaml"))
PAPER = [file for file in EXAMPLES if file.parent.name in ("sbp_3b_200b", "sbp_3b_1t", "sbp_6b_1t")]


ON_GPUS = {"embed", "pilot", "synthesize", "compare", "evaluate", "harness"}  # written down, not asked of the stages
FEW_CORES = {"report": 2, "export-synthesizer": 4, "export-arms": 4, "tokenize-pairs": 4}
FEW_CORES |= {
    "judge": 2,
    "judge-pilot": 2,
    "index-corpus": 2,
    "task-items": 2,
    "scan-corpus": 2,
    "deduplicate": 1,
    "filter": 1,
}
MEMORY = {"report": "8G"}


def name_of(file: Path) -> str:
    return f"{file.parent.name}-{file.stem}"


def client(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def no_start(slurm):
    """Jobs stay in the queue."""
    with closed("gpu", "cpu"):
        yield


def submit(file: Path, folder: Path, *words: str) -> tuple[Run, Run]:
    """Submits a rehearsal; gives the real run and that of the rehearsal."""
    words = (f"run_folder={folder / 'run'}", *words)
    if load_recipe(file).evaluation.harness.tasks:
        words += (f"evaluation.harness.task_folder={folder / 'none'}",)  # fetched on this machine or not
    assert main(["submit", str(file), "--rehearse", *words]) == 0
    return Run.of(load_recipe(file, words)), Run.of(load_recipe(folder / "rehearsal" / "run-slurm" / "recipe.yaml"))


def graph_of(real: Run) -> list[Stage]:
    """The stages of a rehearsal: all of them, but lm-eval's tasks have to be fetched first."""
    return [stage for stage in all_stages(real.recipe) if stage.name not in ("harness", "task-items")]


def asked(run: Run) -> dict[str, dict[str, str]]:
    """What the job of every stage asked for, as Slurm has it; of an array, what its first task did."""
    found: dict[str, dict[str, str]] = {}
    for line in client("scontrol", "show", "job", "--oneliner").splitlines():
        fields = dict(re.findall(r"(\S+?)=(\S*)", line))
        found.setdefault(fields.get("ArrayJobId", fields["JobId"]), fields)
    return {job.stage: found[job.id] for job in slurm_queue.jobs_of(run)}


def gpus(fields: dict[str, str]) -> int:
    """GPUs per node that a job asked for."""
    found = re.search(r"gpu(?::\w+)?[:=](\d+)", fields.get("TresPerNode", ""))
    return int(found[1]) if found else 0


def check(real: Run, stage: Stage, fields: dict[str, str]) -> None:
    """A job of a rehearsal has what its stage uses, by the settings of the real recipe."""
    recipe, verb = real.recipe, stage.name.partition(".")[0]
    trains = verb == "tune" or verb.startswith("train-")
    on_gpu = trains or verb in ON_GPUS or (verb == "neighbors" and recipe.neighbors.engine == "exact")
    uses_gpu = on_gpu and recipe.launch.device != "cpu"
    assert (gpus(fields) > 0) == uses_gpu, (stage.name, fields)
    if recipe.launch.device == "cpu":
        return
    assert fields["Partition"] == ("gpu" if on_gpu else "cpu"), stage.name
    own = recipe.slurm.stages.get(verb)
    few = min(FEW_CORES.get(verb, recipe.slurm.cpus_per_task), recipe.slurm.cpus_per_task)
    cores = own.cpus_per_task if own and own.cpus_per_task else few
    assert fields["CPUs/Task"] == str(cores), stage.name
    if not trains:
        assert fields["MinMemoryNode"] == MEMORY.get(verb, "32G" if on_gpu else "16G"), (stage.name, fields)
    assert fields["TimeLimit"] == "00:30:00"
    assert ("ArrayJobId" in fields) == stage.sharded, stage.name
    if trains:
        nodes = re.match(r"\d+", fields["NumNodes"])
        count = min(2, recipe.launch.nodes)
        assert nodes and int(nodes[0]) == count and gpus(fields) == recipe.slurm.gpus_per_node
        assert fields["NumTasks"] == str(count * recipe.launch.ranks_per_node)


@pytest.mark.parametrize(
    "file",
    [
        # `make rehearse` checks the same of every recipe.yaml.
        pytest.param(file, marks=pytest.mark.exhaustive) if file.stem == "recipe" else file
        for file in EXAMPLES
    ],
    ids=map(name_of, EXAMPLES),
)
def test_every_job_asks_for_what_its_stage_uses(file, no_start, tmp_path, monkeypatch):
    """Slurm takes the real request of every job: GPUs, CPUs, tasks, partitions."""
    monkeypatch.chdir(tmp_path)
    real, run = submit(file, tmp_path)
    graph = graph_of(real)
    jobs = asked(run)
    assert list(jobs) == [stage.name for stage in graph]
    for stage in graph:
        check(real, stage, jobs[stage.name])


@pytest.fixture(scope="module")
def rehearsed(slurm, request, tmp_path_factory) -> dict[Path, tuple[Run, Run]]:
    """The recipes that were selected, submitted one after the other: their jobs run side by side."""
    tests = [item for item in request.session.items if item.function is test_from_submit_to_the_report]
    with pytest.MonkeyPatch.context() as patch:
        found = {}
        for file in [test.callspec.params["file"] for test in tests]:
            folder = tmp_path_factory.mktemp(file.parent.name)
            patch.chdir(folder)
            # Half of a rehearsal's time is the start of processes, and one recipe with arrays of two tasks is enough.
            words = [f"slurm.array_size={2 if file in PAPER else 1}"]
            if load_recipe(file).launch.device != "cpu":
                # The GPUs of the nodes are no devices: `auto` then computes on the CPU.
                words += ["launch.device=auto", "launch.ranks_per_node=1"]
            found[file] = submit(file, folder, *words)
        return found


@pytest.mark.exhaustive  # `make rehearse` runs it, in CI too
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("file", EXAMPLES, ids=map(name_of, EXAMPLES))
def test_from_submit_to_the_report(file, rehearsed):
    """All stages, on two nodes and in arrays of two tasks."""
    real, run = rehearsed[file]
    graph = graph_of(real)
    jobs = asked(run)
    for stage in graph:
        check(real, stage, jobs[stage.name])
    while any(slurm_queue.is_live(job) for job in slurm_queue.jobs_of(run)):
        time.sleep(1)
    logs = "\n".join(path.read_text()[-1500:] for path in sorted((run.root / "logs" / "slurm").glob("*.out")))
    states = {job.stage: job.state for job in slurm_queue.jobs_of(run)}
    assert all(re.fullmatch(r"COMPLETED( \d+)?", state) for state in states.values()), f"{states}\n{logs}"
    results = files.read_json(run.results_file)
    assert set(results["arms"]) == set(real.recipe.arms) and run.report_file.exists()
    table = (run.root / "rehearsal.txt").read_text()
    assert "documents.train" in table
    assert ("no benchmark tasks" in table) == bool(real.recipe.evaluation.harness.tasks)
    assert main(["status", str(run.root), "--check"]) == 0
